//! The programs of the control plane: found, or built once from the Go modules pinned in `go/`.
//!
//! What the folder `KUBEBUILDER_ASSETS` holds is used. The rest is built from source into a cache
//! outside the checkout: `$TESTBED_CACHE`, else `$XDG_CACHE_HOME` or `~/.cache`, then
//! `node-termination-operator/testbed/KEY`, where the key changes with the pinned versions.

mod build;
mod extra;

use std::{
    env,
    fmt::Write,
    fs::{self, File, TryLockError},
    path::{Path, PathBuf},
};

use anyhow::Context;
use sha2::{Digest, Sha256};

/// The version of Kubernetes the test bed runs. `go/kubernetes/go.mod` requires the same.
pub const KUBERNETES_VERSION: &str = "v1.36.3";

/// The folder of the pinned Go modules.
const MODULES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/go");

/// A program of the control plane and where its source is.
#[derive(Debug)]
struct Tool {
    name: &'static str,
    module: &'static str,
    package: &'static str,
}

const fn tool(name: &'static str, module: &'static str, package: &'static str) -> Tool {
    Tool {
        name,
        module,
        package,
    }
}

const TOOLS: [Tool; 7] = [
    tool("etcd", "etcd", "go.etcd.io/etcd/server/v3"),
    tool(
        "kube-apiserver",
        "kubernetes",
        "k8s.io/kubernetes/cmd/kube-apiserver",
    ),
    tool(
        "kube-controller-manager",
        "kubernetes",
        "k8s.io/kubernetes/cmd/kube-controller-manager",
    ),
    tool(
        "kube-scheduler",
        "kubernetes",
        "k8s.io/kubernetes/cmd/kube-scheduler",
    ),
    tool("kubectl", "kubernetes", "k8s.io/kubernetes/cmd/kubectl"),
    tool("kwok", "kwok", "sigs.k8s.io/kwok/cmd/kwok"),
    tool(
        "ec2-metadata-mock",
        "aemm",
        "github.com/aws/amazon-ec2-metadata-mock/cmd",
    ),
];

/// Paths of all programs.
#[derive(Clone, Debug)]
pub struct Binaries {
    assets: Option<PathBuf>,
    cache: PathBuf,
}

impl Binaries {
    /// Finds every program and builds the ones that are missing, which takes about seven minutes
    /// on two processors the first time. Progress goes to stderr. One process builds at a time;
    /// others wait for it. Fails when Go is needed and is missing or too old.
    pub fn resolve() -> anyhow::Result<Self> {
        let binaries = Self {
            assets: env::var_os("KUBEBUILDER_ASSETS").map(PathBuf::from),
            cache: cache_root()?
                .join("node-termination-operator/testbed")
                .join(key()?),
        };
        if !binaries.missing().is_empty() {
            binaries.build_missing()?;
        }
        Ok(binaries)
    }

    /// The path of one program, by its name, such as `kube-apiserver`.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        let given = self.assets.as_ref().map(|folder| folder.join(name));
        given
            .filter(|path| path.is_file())
            .unwrap_or_else(|| self.cache.join(name))
    }

    /// `kubectl` alone, for a cluster that is not ours: the cached one, else the one on `PATH`.
    #[must_use]
    pub fn any_kubectl() -> PathBuf {
        let assets = env::var_os("KUBEBUILDER_ASSETS").map(PathBuf::from);
        let cache = cache_root().ok().zip(key().ok());
        let cache =
            cache.map(|(root, key)| root.join("node-termination-operator/testbed").join(key));
        let found = assets
            .into_iter()
            .chain(cache)
            .map(|folder| folder.join("kubectl"));
        found
            .into_iter()
            .find(|path| path.is_file())
            .unwrap_or_else(|| "kubectl".into())
    }

    fn missing(&self) -> Vec<&'static Tool> {
        TOOLS
            .iter()
            .filter(|tool| !self.path(tool.name).is_file())
            .collect()
    }

    fn build_missing(&self) -> anyhow::Result<()> {
        fs::create_dir_all(&self.cache)
            .with_context(|| format!("create {}", self.cache.display()))?;
        let _lock = lock(&self.cache.join("lock"))?;
        let missing = self.missing();
        if missing.is_empty() {
            return Ok(());
        }
        build::check_go(Path::new(MODULES))?;
        build::say(&format!(
            "building Kubernetes {KUBERNETES_VERSION} from source, once; this takes minutes"
        ));
        for (index, tool) in missing.iter().enumerate() {
            build::build(tool, &self.cache, index + 1, missing.len())?;
        }
        Ok(())
    }
}

/// Held until it is dropped; the kernel releases it when the holder dies.
fn lock(path: &Path) -> anyhow::Result<File> {
    let file = File::create(path).with_context(|| format!("create {}", path.display()))?;
    match file.try_lock() {
        Ok(()) => return Ok(file),
        Err(TryLockError::WouldBlock) => build::say("waiting for another process that builds"),
        Err(TryLockError::Error(error)) => return Err(error).context("lock the cache"),
    }
    file.lock().context("lock the cache")?;
    Ok(file)
}

pub(crate) fn cache_root() -> anyhow::Result<PathBuf> {
    if let Some(folder) = env::var_os("TESTBED_CACHE").or_else(|| env::var_os("XDG_CACHE_HOME")) {
        return Ok(folder.into());
    }
    let home = env::home_dir().context("no home folder for the cache: set TESTBED_CACHE")?;
    Ok(home.join(".cache"))
}

/// Changes with anything that changes what is built.
fn key() -> anyhow::Result<String> {
    let mut hash = Sha256::new();
    for module in ["etcd", "kubernetes", "kwok", "aemm"] {
        for file in ["go.mod", "go.sum"] {
            let path = Path::new(MODULES).join(module).join(file);
            hash.update(fs::read(&path).with_context(|| format!("read {}", path.display()))?);
        }
    }
    let digest = hexadecimal(&hash.finalize());
    Ok(format!(
        "{KUBERNETES_VERSION}-{}-{digest}",
        env::consts::ARCH
    ))
}

/// The first six bytes of a digest.
fn hexadecimal(digest: &[u8]) -> String {
    digest.iter().take(6).fold(String::new(), |mut text, byte| {
        // Writing to a String never fails.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_the_one_the_module_requires() {
        let module = fs::read_to_string(format!("{MODULES}/kubernetes/go.mod")).unwrap();
        assert!(module.contains(&format!("k8s.io/kubernetes {KUBERNETES_VERSION} ")));
    }

    #[test]
    fn the_cache_is_outside_the_checkout() {
        let checkout = Path::new(env!("CARGO_MANIFEST_DIR"));
        assert!(!cache_root().unwrap().starts_with(checkout));
        assert!(key().unwrap().starts_with(KUBERNETES_VERSION));
    }
}
