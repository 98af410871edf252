//! What single tests ask for beside the control plane: programs that are found or built when the first test asks, and
//! files that come with a Go module.
//!
//! Each is cached under a key of its own module, so that a new version of one builds nothing else anew.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, ensure};
use sha2::{Digest, Sha256};

use super::{Binaries, MODULES, Tool, build, cache_root, hexadecimal, lock, tool};

const EXTRAS: [Tool; 4] = [
    tool("kstatus", "kstatus", "."),
    tool("promrules", "promrules", "."),
    tool("helm", "helm", "helm.sh/helm/v4/cmd/helm"),
    tool(
        "helm-docs",
        "helm-docs",
        "github.com/norwoodj/helm-docs/cmd/helm-docs",
    ),
];

impl Binaries {
    /// The path of a program that only some tests need, such as `helm`. It is taken from the folder
    /// `KUBEBUILDER_ASSETS`, else from the cache, else built into it, which takes minutes. Fails for an unknown name, and
    /// when Go is needed and is missing or too old.
    pub fn extra(name: &str) -> anyhow::Result<PathBuf> {
        let known = EXTRAS.iter().find(|tool| tool.name == name);
        let tool = known.with_context(|| format!("no program is named {name}"))?;
        let assets = std::env::var_os("KUBEBUILDER_ASSETS").map(PathBuf::from);
        let given = assets.map(|folder| folder.join(name));
        if let Some(given) = given.filter(|path| path.is_file()) {
            return Ok(given);
        }
        let folder = folder(tool)?;
        let path = folder.join(name);
        if !path.is_file() {
            fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
            let _lock = lock(&folder.join("lock"))?;
            if !path.is_file() {
                build::check_go(Path::new(MODULES))?;
                build::build(tool, &folder, 1, 1)?;
            }
        }
        Ok(path)
    }

    /// The folder of a module's own files, read-only, from Go's cache. It is the one module that `go/NAME/go.mod` requires.
    pub fn module_files(name: &str, module: &str) -> anyhow::Result<PathBuf> {
        let output = build::go(Path::new(MODULES), name)
            .args(["mod", "download", "-json", module])
            .output()
            .context("run go mod download")?;
        ensure!(
            output.status.success(),
            "go mod download {module}: {}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        let answer: serde_json::Value = serde_json::from_slice(&output.stdout)?;
        let folder = answer["Dir"].as_str();
        Ok(folder.context("go mod download names no folder")?.into())
    }
}

fn folder(tool: &Tool) -> anyhow::Result<PathBuf> {
    let mut hash = Sha256::new();
    for file in ["go.mod", "go.sum", "main.go"] {
        let path = Path::new(MODULES).join(tool.module).join(file);
        // A program of somebody else's has no source here.
        if file != "main.go" || path.is_file() {
            hash.update(fs::read(&path).with_context(|| format!("read {}", path.display()))?);
        }
    }
    let key = hexadecimal(&hash.finalize());
    Ok(cache_root()?
        .join("node-termination-operator/testbed/extra")
        .join(format!("{}-{}-{key}", tool.name, std::env::consts::ARCH)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_nobody_knows_is_an_error_and_not_a_path() {
        let error = Binaries::extra("tiller").unwrap_err().to_string();
        assert_eq!(error, "no program is named tiller");
    }

    #[test]
    fn each_program_is_cached_apart_from_the_others_and_from_the_control_plane() {
        let folders = EXTRAS.each_ref().map(|tool| folder(tool).unwrap());
        let different: std::collections::BTreeSet<_> = folders.iter().collect();
        assert_eq!(different.len(), folders.len());
        let checkout = Path::new(env!("CARGO_MANIFEST_DIR"));
        assert!(folders.iter().all(|folder| !folder.starts_with(checkout)));
    }
}
