//! Logs, on standard error: standard output belongs to the commands that print.

use std::io::{self, IsTerminal};

use tracing::Subscriber;
use tracing::level_filters::{LevelFilter, ParseLevelFilterError};
use tracing::subscriber::{SetGlobalDefaultError, set_global_default};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;
use tracing_subscriber::fmt::MakeWriter;

/// Libraries that are heard only from this level on, unless a directive names them: their lower levels are a line or a
/// span per request. The SDK's own warning about a refused role repeats, raw, what our error says.
const LIBRARIES: &str = "aws_config=error,aws_smithy_runtime=warn,hyper=warn,hyper_util=warn,\
    kube_client=warn,kube_runtime=warn,rustls=warn,tower=warn";

/// How a log line looks.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub enum LogFormat {
    /// One JSON object per line, with the fields of the innermost span under `span`.
    Json,
    /// For people; in colour on a terminal.
    Text,
}

/// Why logging could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A word that is no level.
    #[error("no log level: {0:?}")]
    Level(String, #[source] ParseLevelFilterError),
    /// Directives that cannot be read.
    #[error("no log directives: {0:?}")]
    Directives(String, #[source] ParseError),
    /// Logging is set up already.
    #[error("logging is set up already")]
    Twice(#[from] SetGlobalDefaultError),
}

/// Sets up logging for the process. `level` is a level (`info`) or directives (`info,node_termination_operator=debug`),
/// as [`EnvFilter`] reads them.
pub fn init(format: LogFormat, level: &str) -> Result<(), Error> {
    let filter = filter(level)?;
    let colour = io::stderr().is_terminal();
    set_global_default(subscriber(format, filter, colour, io::stderr))?;
    Ok(())
}

fn subscriber<W>(
    format: LogFormat,
    filter: EnvFilter,
    colour: bool,
    writer: W,
) -> Box<dyn Subscriber + Send + Sync>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(writer);
    match format {
        LogFormat::Json => Box::new(
            lines
                .json()
                .flatten_event(true)
                .with_current_span(true)
                .with_span_list(false)
                .finish(),
        ),
        LogFormat::Text => Box::new(lines.with_ansi(colour).finish()),
    }
}

/// The later of two directives for one target counts: `level` has the last word.
fn filter(level: &str) -> Result<EnvFilter, Error> {
    // A single word that is no level would be read as the name of a target, and silence everything else.
    if level.chars().all(char::is_alphanumeric) {
        let parsed: Result<LevelFilter, ParseLevelFilterError> = level.parse();
        parsed.map_err(|error| Error::Level(level.to_owned(), error))?;
    }
    EnvFilter::try_new(format!("{LIBRARIES},{level}"))
        .map_err(|error| Error::Directives(level.to_owned(), error))
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use serde_json::Value;
    use tracing::subscriber::with_default;
    use tracing::{debug, info, info_span};

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn lines(format: LogFormat, level: &str, log: impl FnOnce()) -> Vec<String> {
        let (lines, filter) = (Lines::default(), filter(level).unwrap());
        let writer = lines.clone();
        let subscriber = subscriber(format, filter, false, move || writer.clone());
        with_default(subscriber, log);
        let bytes = lines.0.lock().unwrap().clone();
        let text = String::from_utf8(bytes).unwrap();
        text.lines().map(str::to_owned).collect()
    }

    #[test]
    fn a_json_line_has_fields_and_the_span_it_belongs_to() {
        let lines = lines(LogFormat::Json, "info", || {
            let _span = info_span!("pass", node = "a").entered();
            info!(pods = 3, "cordoned");
        });
        let line: Value = serde_json::from_str(&lines[0]).unwrap();
        assert_eq!(line["message"], "cordoned");
        assert_eq!(line["pods"], 3);
        assert_eq!(line["span"]["node"], "a");
    }

    #[test]
    fn libraries_are_quiet_unless_named() {
        let log = || {
            debug!("ours");
            debug!(target: "kube_client::client", "theirs");
        };
        assert_eq!(lines(LogFormat::Text, "debug", log).len(), 1);
        assert_eq!(
            lines(LogFormat::Text, "debug,kube_client=debug", log).len(),
            2
        );
        assert_eq!(lines(LogFormat::Text, "info", log).len(), 0);
    }

    #[test]
    fn what_is_no_level_is_an_error() {
        assert!(matches!(filter("inof"), Err(Error::Level(..))));
        assert!(matches!(filter("ours=inof"), Err(Error::Directives(..))));
    }
}
