//! What the plugin says when it can not do what it was asked for, and how it ends then.

use std::fs;

use testbed::ControlPlane;

use super::{Person, said};
use crate::scene::Corner;

#[tokio::test]
async fn what_does_not_exist_and_what_is_typed_wrong_have_exit_codes_of_their_own() {
    let corner = Corner::without_policy("plugin-wrong", 1).await;
    let person = Person::on_call(&corner).await;
    let node = &corner.nodes[0].name;
    for (words, said) in [
        (
            vec!["drain", "no-such-node"],
            "error: there is no Node no-such-node\n",
        ),
        (
            vec!["why", "no-such-node"],
            "error: there is neither a Node no-such-node nor a NodeTermination of that name\n",
        ),
        (
            vec!["hold", "no-such-node"],
            "error: no NodeTermination is open on a node no-such-node, and none has that name\n",
        ),
        (
            vec!["release", "nt/no-such-record"],
            "error: there is no NodeTermination no-such-record\n",
        ),
    ] {
        assert_eq!(person.ends(3, &words).await.err, said);
    }
    let said = person
        .ends(3, &["cancel", &format!("node/{node}")])
        .await
        .err;
    assert_eq!(
        said,
        format!("error: node/{node} has no open NodeTermination\n")
    );
    for (words, said) in [
        (vec!["drain"], "<NODE>"),
        (vec!["drain", &format!("{node}?a=b")], "can be no name"),
        (vec!["history", "--node", "../pods"], "can be no name"),
        (vec!["fly", node], "unrecognized subcommand 'fly'"),
        (vec!["drain", node, "--timeout", "5m"], "--wait"),
        (
            vec!["drain", node, "--wait", "--timeout", "5"],
            "is not a length of time such as 90s",
        ),
        (
            vec!["history", "-o", "table"],
            "[possible values: json, yaml, name]",
        ),
    ] {
        let refused = person.ends(2, &words).await;
        assert!(refused.err.contains(said), "{refused:?}");
    }
    let said = person.ends(1, &["why", "No Name"]).await.err;
    assert!(said.contains("`No Name` can be no name"), "{said}");
    let said = person.ends(1, &["hold", "pod/web-0"]).await.err;
    assert!(said.contains("write node/web-0 or nt/web-0"), "{said}");
}

#[tokio::test]
async fn whoever_has_no_rights_is_told_which_and_where_they_are_to_be_had() {
    let corner = Corner::without_policy("plugin-nobody", 1).await;
    let person = Person::with(&corner, "nobody", None).await;
    let user = format!("system:serviceaccount:{}:nobody", corner.namespace);
    let refused = person.ends(1, &["history"]).await;
    let forbidden = format!("User \"{user}\" cannot list resource \"nodeterminations\"");
    assert!(refused.err.contains(&forbidden), "{refused:?}");
    assert!(refused.err.contains("nodetermination-drain"), "{refused:?}");

    let mut admin = person.command(&["history", "--as", &user, "--kubeconfig"]);
    admin.arg(corner.world.control_plane.kubeconfig());
    let as_nobody = said(admin).await;
    assert!(
        as_nobody.code == 1 && as_nobody.err.contains(&forbidden),
        "{as_nobody:?}"
    );
}

#[tokio::test]
async fn a_cluster_that_can_not_be_found_or_reached_is_named() {
    let corner = Corner::without_policy("plugin-nowhere", 0).await;
    let person = Person::with(&corner, "nobody", None).await;
    let refused = person
        .ends(1, &["history", "--context", "no-such-context"])
        .await;
    assert!(
        refused.err.contains("the cluster can not be found")
            && refused.err.contains("no-such-context"),
        "{refused:?}"
    );
    let refused = person
        .ends(1, &["history", "--kubeconfig", "/no/such/file"])
        .await;
    assert!(refused.err.contains("/no/such/file"), "{refused:?}");

    let control_plane = &corner.world.control_plane;
    let text = fs::read_to_string(&person.kubeconfig).unwrap();
    let nowhere = control_plane.folder().join("nowhere.kubeconfig");
    // Nobody listens on the port of discard.
    fs::write(
        &nowhere,
        text.replace(control_plane.url(), "https://127.0.0.1:9"),
    )
    .unwrap();
    let nowhere = nowhere.to_str().unwrap();
    let refused = person.ends(1, &["history", "--kubeconfig", nowhere]).await;
    assert!(
        refused
            .err
            .contains("the API server at https://127.0.0.1:9/ can not be reached"),
        "{refused:?}"
    );
    assert!(!refused.err.contains("a proxy is set"), "{refused:?}");
    let mut proxied = person.command(&["history", "--kubeconfig", nowhere]);
    proxied.env("HTTPS_PROXY", "http://127.0.0.1:9");
    let refused = said(proxied).await;
    assert!(refused.err.contains("a proxy is set"), "{refused:?}");
}

#[tokio::test]
async fn a_cluster_without_the_operator_or_that_does_not_know_who_asks_is_told_of_as_such() {
    let corner = Corner::without_policy("plugin-bare", 0).await;
    let person = Person::with(&corner, "nobody", None).await;
    let control_plane = ControlPlane::start().await.unwrap();
    let kubeconfig = control_plane.kubeconfig().to_str().unwrap();
    for words in [
        ["why", "node-1"],
        ["hold", "nt/node-1"],
        ["history", "--since=1h"],
    ] {
        let words = [&words[..], &["--kubeconfig", kubeconfig]].concat();
        let refused = person.ends(1, &words).await;
        assert!(
            refused
                .err
                .contains("is the operator installed in this cluster?"),
            "{refused:?}"
        );
    }

    let text = fs::read_to_string(control_plane.kubeconfig()).unwrap();
    let wrong = control_plane.folder().join("wrong-token.kubeconfig");
    fs::write(&wrong, text.replace("\"token\":\"", "\"token\":\"not-")).unwrap();
    let words = ["history", "--kubeconfig", wrong.to_str().unwrap()];
    let refused = person.ends(1, &words).await;
    let said = "does not accept the kubeconfig's credentials";
    assert!(refused.err.contains(said), "{refused:?}");
}
