//! A program whose clock is wrong: a small library is preloaded into it that shifts what time it is told.
//!
//! The library is compiled with `rustc` at first use and kept beside the programs of the control plane.

use std::{
    env,
    ffi::OsString,
    fmt::Write,
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::Mutex,
};

use anyhow::{Context, ensure};
use jiff::SignedDuration;
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use crate::binaries::cache_root;

const SOURCE: &str = include_str!("../preload/skew.rs");

/// A clock that is wrong by whole seconds.
#[derive(Clone, Debug)]
pub struct Skew {
    library: String,
    /// The number of seconds, or the file that holds it.
    seconds: String,
}

/// A clock that can be set while the programs that have it run.
#[derive(Debug)]
pub struct SetClock {
    skew: Skew,
    folder: TempDir,
}

impl SetClock {
    /// A clock that is so far ahead until it is set.
    pub fn new(ahead: SignedDuration) -> anyhow::Result<Self> {
        let folder = TempDir::new()?;
        let file = folder.path().join("seconds").into_os_string();
        let clock = Self {
            skew: Skew {
                seconds: text(file)?,
                ..Skew::new(ahead)?
            },
            folder,
        };
        clock.set(ahead)?;
        Ok(clock)
    }

    /// What programs are to have that have this clock.
    #[must_use]
    pub fn skew(&self) -> &Skew {
        &self.skew
    }

    /// Sets it: it is so far ahead from now on.
    pub fn set(&self, ahead: SignedDuration) -> anyhow::Result<()> {
        let new = self.folder.path().join("new");
        fs::write(&new, ahead.as_secs().to_string())?;
        fs::rename(&new, &self.skew.seconds)?;
        Ok(())
    }
}

fn text(path: OsString) -> anyhow::Result<String> {
    let text = path.into_string();
    text.map_err(|_| anyhow::anyhow!("the path is not UTF-8"))
}

impl Skew {
    /// A clock that is so far ahead; behind, if it is negative. Fails where there is no `rustc`.
    pub fn new(ahead: SignedDuration) -> anyhow::Result<Self> {
        Ok(Self {
            library: text(library()?.into_os_string())?,
            seconds: ahead.as_secs().to_string(),
        })
    }

    /// The environment of a program that is to have this clock, such as the `extra` of [`crate::Operator::start`].
    #[must_use]
    pub fn env(&self) -> [(&str, &str); 2] {
        [
            ("LD_PRELOAD", &self.library),
            ("SKEW_SECONDS", &self.seconds),
        ]
    }
}

/// Tests of one process ask at the same time, and its number is in the unfinished library's name.
static COMPILING: Mutex<()> = Mutex::new(());

/// The compiled library.
fn library() -> anyhow::Result<PathBuf> {
    let folder = cache_root()?.join("node-termination-operator/testbed");
    let mut name = format!("skew-{}-", env::consts::ARCH);
    for byte in Sha256::digest(SOURCE).iter().take(6) {
        write!(name, "{byte:02x}")?;
    }
    let library = folder.join(format!("{name}.so"));
    let _alone = COMPILING.lock();
    if !library.is_file() {
        fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
        let unfinished = folder.join(format!(".{name}-{}", std::process::id()));
        compile(&unfinished)?;
        fs::rename(&unfinished, &library)?;
    }
    Ok(library)
}

fn compile(library: &Path) -> anyhow::Result<()> {
    let checkout = Path::new(env!("CARGO_MANIFEST_DIR"));
    let output = Command::new(env::var_os("RUSTC").unwrap_or(OsString::from("rustc")))
        .args(["--edition", "2024", "-O", "-o"])
        .arg(library)
        .arg("preload/skew.rs")
        .current_dir(checkout)
        .output()
        .context("run rustc for the library that sets a clock wrong")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "rustc failed:\n{said}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::Timestamp;

    fn date(skew: &Skew) -> Timestamp {
        let date = Command::new("date").arg("+%s").envs(skew.env()).output();
        let said = String::from_utf8(date.unwrap().stdout).unwrap();
        Timestamp::from_second(said.trim().parse().unwrap()).unwrap()
    }

    #[test]
    fn a_program_that_is_started_with_it_has_another_time() {
        for minutes in [-90, 0, 7] {
            let ahead = SignedDuration::from_mins(minutes);
            let told = date(&Skew::new(ahead).unwrap());
            let off = told.duration_since(Timestamp::now()) - ahead;
            assert!(off.abs() < SignedDuration::from_secs(30), "{off}");
        }
    }

    #[test]
    fn a_clock_that_is_set_is_another_from_then_on() {
        let clock = SetClock::new(SignedDuration::ZERO).unwrap();
        for minutes in [7, -90] {
            let ahead = SignedDuration::from_mins(minutes);
            clock.set(ahead).unwrap();
            let off = date(clock.skew()).duration_since(Timestamp::now()) - ahead;
            assert!(off.abs() < SignedDuration::from_secs(30), "{off}");
        }
    }
}
