//! The network policies are what this API server takes. Nothing here enforces them: there is no network.

use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::Api;
use kube::api::ListParams;
use testbed::operator;

use crate::site::Site;

#[tokio::test]
async fn the_network_policies_are_valid_and_select_the_pods_of_the_overlay() {
    let site = Site::new().await;
    site.install("both").await;
    let said = site.apply("network-policy", &["--dry-run=server"]).await;
    assert_eq!(said.lines().count(), 3, "{said}");
    site.apply("network-policy", &[]).await;
    let policies = Api::<NetworkPolicy>::namespaced(site.client.clone(), operator::NAME);
    let policies = policies.list(&ListParams::default()).await.unwrap().items;
    for policy in policies {
        let spec = policy.spec.unwrap();
        let all = ["Ingress", "Egress"].map(str::to_owned).to_vec();
        assert_eq!(
            spec.policy_types,
            Some(all),
            "whatever is not named is denied"
        );
        let selected = spec.pod_selector.unwrap_or_default();
        let labels = selected.match_labels.unwrap_or_default();
        let labels = labels.iter().map(|(k, v)| format!("{k}={v}"));
        let params = ListParams::default().labels(&labels.collect::<Vec<_>>().join(","));
        let pods =
            Api::<k8s_openapi::api::core::v1::Pod>::namespaced(site.client.clone(), operator::NAME);
        let pods = pods.list(&params).await.unwrap().items;
        let name = policy.metadata.name.unwrap();
        let expected = if name == "default-deny" { 4 } else { 2 };
        assert_eq!(pods.len(), expected, "{name}");
        // A port by name must be one that the pods have.
        let ports = spec.ingress.into_iter().flatten();
        for port in ports.flat_map(|rule| rule.ports.unwrap_or_default()) {
            let named = serde_json::to_value(port.port).unwrap();
            let has = |pod: &k8s_openapi::api::core::v1::Pod| {
                let containers = pod.spec.iter().flat_map(|s| &s.containers);
                let mut ports = containers.flat_map(|c| c.ports.iter().flatten());
                ports.any(|p| p.name.as_deref() == named.as_str())
            };
            assert!(pods.iter().all(has), "{name}: {named}");
        }
    }
}
