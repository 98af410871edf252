//! One `go build` for one tool, and whether there is a Go that can do it.

use std::{
    fs,
    io::{self, Write},
    path::Path,
    process::{Command, Output},
    time::Instant,
};

use anyhow::{Context, ensure};

use super::{KUBERNETES_VERSION, MODULES, Tool};

/// The oldest Go the pinned modules build with: the `go` line of `go/kubernetes/go.mod`.
const OLDEST_GO: (u32, u32) = (1, 26);

/// Writes a line of progress to the real stderr: the test harness would keep `eprintln!` back
/// until the end of a test that then seems to hang for minutes.
pub(super) fn say(line: &str) {
    // Progress that cannot be shown is no reason to fail.
    let _ = writeln!(io::stderr(), "test bed: {line}");
}

/// Fails with what to do about it when there is no Go, or one that is too old.
pub(super) fn check_go(modules: &Path) -> anyhow::Result<()> {
    check(
        go(modules, "kubernetes")
            .args(["env", "GOVERSION"])
            .output(),
    )
}

/// Builds `tool`, the `index`th of `count`, and moves it into `cache` when it is complete.
pub(super) fn build(tool: &Tool, cache: &Path, index: usize, count: usize) -> anyhow::Result<()> {
    let started = Instant::now();
    say(&format!("building {} ({index} of {count}) ...", tool.name));
    let unfinished = cache.join(format!(".{}-{}", tool.name, std::process::id()));
    let output = go(Path::new(MODULES), tool.module)
        .args(["build", "-trimpath", "-ldflags", &link_flags(tool), "-o"])
        .arg(&unfinished)
        .arg(tool.package)
        .output()
        .with_context(|| format!("run go build for {}", tool.name))?;
    ensure!(
        output.status.success(),
        "go build of {} failed:\n{}",
        tool.name,
        String::from_utf8_lossy(&output.stderr)
    );
    fs::rename(&unfinished, cache.join(tool.name))?;
    let seconds = started.elapsed().as_secs();
    say(&format!(
        "built {} ({index} of {count}) in {seconds} s",
        tool.name
    ));
    Ok(())
}

/// The `go` command in one of the pinned modules.
pub(super) fn go(modules: &Path, module: &str) -> Command {
    let mut go = Command::new("go");
    go.current_dir(modules.join(module))
        .env("CGO_ENABLED", "0")
        .env("GOWORK", "off");
    go
}

/// Stripped; and Kubernetes reports its version only when the linker is told of it.
fn link_flags(tool: &Tool) -> String {
    if tool.module != "kubernetes" {
        return "-s -w".to_owned();
    }
    let mut parts = KUBERNETES_VERSION.trim_start_matches('v').split('.');
    let (major, minor) = (
        parts.next().unwrap_or_default(),
        parts.next().unwrap_or_default(),
    );
    let version = "-X k8s.io/component-base/version";
    format!(
        "-s -w {version}.gitVersion={KUBERNETES_VERSION} {version}.gitMajor={major} \
         {version}.gitMinor={minor}"
    )
}

fn check(answer: io::Result<Output>) -> anyhow::Result<()> {
    let (major, minor) = OLDEST_GO;
    let advice = || {
        format!(
            "The test bed builds Kubernetes from source once and needs Go {major}.{minor} or \
             later: install it and put `go` on PATH, or point KUBEBUILDER_ASSETS at a folder with \
             etcd, kube-apiserver, kube-controller-manager, kube-scheduler, kubectl and kwok, or \
             TESTBED_KUBECONFIG at a cluster"
        )
    };
    let output = answer.with_context(advice)?;
    let version = String::from_utf8_lossy(&output.stdout);
    let recent = parse(version.trim()).is_some_and(|version| version >= OLDEST_GO);
    ensure!(
        output.status.success() && recent,
        "{} (found {}{})",
        advice(),
        version.trim(),
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(())
}

/// `go1.26.8` is (1, 26).
fn parse(version: &str) -> Option<(u32, u32)> {
    let mut parts = version.strip_prefix("go")?.split('.');
    let minor = |part: &str| {
        part.split(|c: char| !c.is_ascii_digit())
            .next()?
            .parse()
            .ok()
    };
    Some((parts.next()?.parse().ok()?, parts.next().and_then(minor)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_go_are_compared_by_number() {
        assert_eq!(parse("go1.26.8"), Some((1, 26)));
        assert_eq!(parse("go1.27rc1"), Some((1, 27)));
        assert!(parse("go1.9.7") < Some(OLDEST_GO));
        assert_eq!(parse("devel"), None);
    }

    #[test]
    fn without_go_the_message_says_what_to_do() {
        let missing = Command::new("go").env("PATH", "").output();
        let message = format!("{:#}", check(missing).unwrap_err());
        assert!(
            message.contains("needs Go 1.26 or later: install it"),
            "{message}"
        );
        assert!(message.contains("KUBEBUILDER_ASSETS"), "{message}");

        let old = Command::new("/bin/sh")
            .args(["-c", "echo go1.21.3"])
            .output();
        let message = check(old).unwrap_err().to_string();
        assert!(message.contains("needs Go 1.26 or later"), "{message}");
        assert!(message.contains("found go1.21.3"), "{message}");
    }
}
