//! The table.

use std::thread::available_parallelism;
use std::time::Duration;

use testbed::binaries::KUBERNETES_VERSION;

/// One row: what was promised, and what was measured beside the raw limit.
pub struct Row {
    what: String,
    promise: String,
    raw: String,
    ours: String,
    verdict: String,
}

fn kept(holds: bool) -> &'static str {
    if holds { "kept" } else { "**missed**" }
}

impl Row {
    /// A value of ours that is promised to be so, in words.
    pub fn promised(what: &str, promise: &str, ours: &str, holds: bool) -> Self {
        let verdict = kept(holds).to_owned();
        Self {
            verdict,
            promise: promise.to_owned(),
            ..Self::told(what, ours)
        }
    }

    /// A value that nothing is promised of.
    pub fn told(what: &str, ours: &str) -> Self {
        Self {
            what: what.to_owned(),
            promise: String::new(),
            raw: String::new(),
            ours: ours.to_owned(),
            verdict: String::new(),
        }
    }

    /// Times of ours, promised to be at most `most` times those of the raw client, by their means.
    pub fn at_most(what: &str, most: f64, raw: &[Duration], ours: &[Duration]) -> Self {
        let ratio = mean(ours) / mean(raw);
        let verdict = format!("{ratio:.2} × raw: {}", kept(ratio <= most));
        Self {
            promise: format!("≤ {most} × raw"),
            raw: list(raw),
            verdict,
            ..Self::told(what, &list(ours))
        }
    }

    /// With what the raw client did.
    pub fn beside(self, raw: &str) -> Self {
        Self {
            raw: raw.to_owned(),
            ..self
        }
    }

    /// What could not be measured.
    pub fn failed(what: &str, why: &str) -> Self {
        let why = why.lines().next().unwrap_or_default().replace('|', "/");
        Self {
            verdict: "**not measured**".to_owned(),
            ..Self::told(what, &why)
        }
    }
}

/// Prints the table, and on what it was measured.
pub fn print(rows: &[Row], took: Duration, quick: bool) {
    let cores = available_parallelism().map_or(0, usize::from);
    let profile = if cfg!(debug_assertions) {
        ", **not optimised**"
    } else {
        ""
    };
    let size = if quick {
        ", **small sizes: the numbers mean nothing**"
    } else {
        ""
    };
    println!(
        "{cores} cores, Kubernetes {KUBERNETES_VERSION}, audit log on, {:.0} minutes{profile}{size}.\n",
        took.as_secs_f64() / 60.0
    );
    println!("| what | promise | raw | ours | verdict |\n|---|---|---|---|---|");
    for row in rows {
        let Row {
            what,
            promise,
            raw,
            ours,
            verdict,
        } = row;
        println!("| {what} | {promise} | {raw} | {ours} | {verdict} |");
    }
}

/// The value that this share of all values is not above; zero of none.
pub fn percentile(values: &[Duration], share: f64) -> Duration {
    let mut sorted = values.to_vec();
    sorted.sort();
    let place = (sorted.len().saturating_sub(1) as f64 * share).ceil() as usize;
    sorted.get(place).copied().unwrap_or_default()
}

/// Their mean in seconds.
pub fn mean(values: &[Duration]) -> f64 {
    let sum: Duration = values.iter().sum();
    sum.as_secs_f64() / values.len() as f64
}

/// A time as it is read.
pub fn time(time: Duration) -> String {
    match time.as_millis() {
        ..1000 => format!("{} ms", time.as_millis()),
        1000..20_000 => format!("{:.2} s", time.as_secs_f64()),
        _ => format!("{:.0} s", time.as_secs_f64()),
    }
}

/// Bytes as they are read.
pub fn megabytes(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}

fn list(times: &[Duration]) -> String {
    let times: Vec<_> = times.iter().map(|t| time(*t)).collect();
    times.join(", ")
}
