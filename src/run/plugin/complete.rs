//! What kubectl's shell completion gets: the candidates for the word that is being typed.

use std::process::ExitCode;
use std::time::Duration;

use kube::ResourceExt;
use kube::config::Kubeconfig;
use node_termination_operator::plugin::args::Connection;
use node_termination_operator::plugin::complete::{self, Wanted, Word};
use node_termination_operator::plugin::record;

use super::connection::Cluster;
use super::failure::Error;

/// Whoever presses Tab waits no longer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Prints the candidates for the last word. Whatever fails offers none: nobody reads errors there.
pub fn completion(words: &[String]) -> ExitCode {
    let wanted = complete::wanted(words);
    let files = wanted == Wanted::File;
    let connection = complete::connection(words);
    let candidates = super::runtime().map(|runtime| {
        let found = runtime.block_on(async {
            // The time-out belongs to the runtime, so it is made in there.
            tokio::time::timeout(PATIENCE, find(wanted, &connection)).await
        });
        runtime.shutdown_timeout(Duration::from_millis(100));
        found.ok().and_then(Result::ok).unwrap_or_default()
    });
    let typed = words.last().map_or("", String::as_str);
    let text = complete::text(&candidates.unwrap_or_default(), typed, files);
    let _ = super::print(&text);
    ExitCode::SUCCESS
}

async fn find(wanted: Wanted, connection: &Connection) -> Result<Vec<Word>, Error> {
    Ok(match wanted {
        Wanted::Words(words) => words,
        Wanted::Context => contexts(connection),
        Wanted::Node => {
            let names = Cluster::connect(connection).await?.node_names().await?;
            names.into_iter().map(|n| (n, String::new())).collect()
        }
        Wanted::Target => {
            let records = Cluster::connect(connection).await?.list(None).await?;
            let open = records.iter().filter(|r| record::is_open(r));
            let words = open.flat_map(|r| {
                let what = format!("{}, {}", record::kind(r), record::phase(r).as_str());
                let node = (r.spec.node_name.clone(), what.clone());
                [node, (format!("nt/{}", r.name_any()), what)]
            });
            words.collect()
        }
        Wanted::File | Wanted::Anything => Vec::new(),
    })
}

fn contexts(connection: &Connection) -> Vec<Word> {
    let file = match &connection.kubeconfig {
        Some(path) => Kubeconfig::read_from(path),
        None => Kubeconfig::read(),
    };
    let contexts = file.map(|file| file.contexts).unwrap_or_default();
    contexts
        .into_iter()
        .map(|context| (context.name, String::new()))
        .collect()
}
