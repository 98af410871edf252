//! Certificates, keys, tokens and kubeconfig files, made on the spot for one control plane.

use std::{
    collections::BTreeSet,
    fmt::Write,
    fs,
    path::{Path, PathBuf},
};

use anyhow::ensure;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use serde_json::json;
use uuid::Uuid;

use super::builder::User;

/// The user of the tests themselves.
pub(super) const ADMIN: &str = "testbed:admin";

/// The user of kwok. It acts for all kubelets and so has all permissions.
pub(super) const KUBELETS: &str = "testbed:kubelets";

/// The name by which the default RBAC rules know kube-controller-manager.
pub(super) const CONTROLLER_MANAGER: &str = "system:kube-controller-manager";

/// The name by which the default RBAC rules know kube-scheduler.
pub(super) const SCHEDULER: &str = "system:kube-scheduler";

/// The files of one control plane that prove who is who.
#[derive(Debug)]
pub(super) struct Credentials {
    folder: PathBuf,
    users: BTreeSet<String>,
}

impl Credentials {
    /// Writes all files into `folder`.
    pub(super) fn write(folder: &Path, url: &str, extra: &[User]) -> anyhow::Result<Self> {
        let mut users = vec![
            User::new(ADMIN, &["system:masters"]),
            User::new(KUBELETS, &["system:masters"]),
            User::new(CONTROLLER_MANAGER, &[]),
            User::new(SCHEDULER, &[]),
        ];
        users.extend_from_slice(extra);
        let names = users.iter().map(|user| user.name.clone()).collect();
        let credentials = Self {
            folder: folder.to_owned(),
            users: names,
        };
        credentials.write_certificates()?;
        credentials.write_tokens(url, &users)?;
        Ok(credentials)
    }

    /// The path of one of the files written.
    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// The kubeconfig of a user; an error when there is no such user.
    pub(super) fn kubeconfig(&self, user: &str) -> anyhow::Result<PathBuf> {
        ensure!(
            self.users.contains(user),
            "the API server does not know {user}: name it with `ControlPlane::builder().user`"
        );
        Ok(self.file(&kubeconfig_name(user)))
    }

    /// Writes a kubeconfig that shows `token`.
    pub(super) fn kubeconfig_of(
        &self,
        name: &str,
        url: &str,
        token: &str,
    ) -> anyhow::Result<PathBuf> {
        let path = self.file(&kubeconfig_name(name));
        let file = kubeconfig(url, &self.file("ca.crt"), token);
        fs::write(&path, file.to_string())?;
        Ok(path)
    }

    /// An authority, the API server's certificate by it, and the key of service-account tokens.
    fn write_certificates(&self) -> anyhow::Result<()> {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params
            .distinguished_name
            .push(DnType::CommonName, "testbed");
        let key = KeyPair::generate()?;
        fs::write(self.file("ca.crt"), params.self_signed(&key)?.pem())?;
        let authority = Issuer::new(params, key);

        let names = ["127.0.0.1", "localhost", "kubernetes.default.svc"].map(String::from);
        let key = KeyPair::generate()?;
        let params = CertificateParams::new(names)?;
        fs::write(
            self.file("server.crt"),
            params.signed_by(&key, &authority)?.pem(),
        )?;
        fs::write(self.file("server.key"), key.serialize_pem())?;

        let key = KeyPair::generate()?;
        fs::write(self.file("accounts.key"), key.serialize_pem())?;
        fs::write(self.file("accounts.pub"), key.public_key_pem())?;
        Ok(())
    }

    fn write_tokens(&self, url: &str, users: &[User]) -> anyhow::Result<()> {
        let mut lines = String::new();
        for User { name, groups } in users {
            let token = Uuid::new_v4();
            writeln!(lines, "{token},{name},{name},\"{}\"", groups.join(","))?;
            let file = kubeconfig(url, &self.file("ca.crt"), &token.to_string());
            fs::write(self.file(&kubeconfig_name(name)), file.to_string())?;
        }
        Ok(fs::write(self.file("tokens.csv"), lines)?)
    }
}

/// Colons of a user's name would end a path in variables such as `KUBECONFIG`.
fn kubeconfig_name(user: &str) -> String {
    format!("{}.kubeconfig", user.replace([':', '/'], "_"))
}

/// JSON is YAML, which is what clients expect.
fn kubeconfig(url: &str, authority: &Path, token: &str) -> serde_json::Value {
    json!({
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "testbed",
        "contexts": [{"name": "testbed", "context": {"cluster": "testbed", "user": "testbed"}}],
        "clusters": [{
            "name": "testbed",
            "cluster": {"server": url, "certificate-authority": authority},
        }],
        "users": [{"name": "testbed", "user": {"token": token}}],
    })
}
