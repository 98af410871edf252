//! Every event and every metadata document of `tests/fixtures` that is a signal, as the real API server stores it.

use std::fs;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use kube::Api;
use kube::api::PostParams;
use node_termination_operator::api::termination::{
    NodeTermination, NodeTerminationSpec, Signal, SignalKind,
};
use node_termination_operator::event::{self, Heard, Parsed, metadata};

use crate::bare::bare;

const INSTANCE: &str = "i-0aaa111122223333b";

fn fixtures(of: &str) -> Vec<(PathBuf, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures")
        .join(of);
    let files = fs::read_dir(folder).unwrap().map(|file| {
        let path = file.unwrap().path();
        let body = fs::read_to_string(&path).unwrap();
        (path, body)
    });
    files.collect()
}

/// An object of its own for the signal, exactly as it was heard but for the region, which the source fills in.
async fn stored(
    api: &Api<NodeTermination>,
    what: &Path,
    number: usize,
    mut heard: Heard,
) -> SignalKind {
    if let Some(hook) = &mut heard.signal.lifecycle_hook
        && hook.region.is_empty()
    {
        "eu-west-1".clone_into(&mut hook.region);
    }
    let spec = NodeTerminationSpec {
        node_name: "node".to_owned(),
        node_uid: Some("6c0de5a4-0000-4000-8000-000000000000".to_owned()),
        instance_id: Some(heard.instance_id),
        signals: vec![heard.signal],
        ..NodeTerminationSpec::default()
    };
    let object = NodeTermination::new(&format!("fixture-{number}"), spec);
    let answer = api.create(&PostParams::default(), &object).await;
    let answer = answer.unwrap_or_else(|said| panic!("{}: {said}", what.display()));
    assert_eq!(answer.spec, object.spec, "{}", what.display());
    answer.spec.signals[0].kind
}

fn of_document(name: &str, body: &str) -> Vec<Signal> {
    let now: Timestamp = "2026-03-18T08:20:30.750Z".parse().unwrap();
    let signals = match name.split('-').next() {
        Some("spot") => metadata::spot_interruption(INSTANCE, body),
        Some("rebalance") => metadata::rebalance_recommendation(INSTANCE, body),
        Some("maintenance") => {
            metadata::scheduled_maintenance(INSTANCE, body, now).map(|entries| entries.signals)
        }
        _ => Ok(Vec::new()),
    };
    signals.unwrap()
}

#[tokio::test]
async fn the_api_server_takes_every_signal_as_it_was_heard() {
    let mut heard = Vec::new();
    for (path, body) in fixtures("events") {
        let signals = match event::parse(&body) {
            Ok(Parsed::Signals(signals)) => signals,
            Ok(Parsed::Reservation(ends)) => ends.heard([INSTANCE.to_owned()]),
            _ => Vec::new(),
        };
        heard.extend(signals.into_iter().map(|signal| (path.clone(), signal)));
    }
    for (path, body) in fixtures("metadata") {
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        heard.extend(of_document(&name, &body).into_iter().map(|signal| {
            let instance_id = INSTANCE.to_owned();
            (
                path.clone(),
                Heard {
                    instance_id,
                    signal,
                },
            )
        }));
    }
    let state = metadata::target_lifecycle_state(INSTANCE, "Terminated", Timestamp::now());
    heard.extend(state.unwrap().into_iter().map(|signal| {
        let instance_id = INSTANCE.to_owned();
        (
            PathBuf::from("target-lifecycle-state"),
            Heard {
                instance_id,
                signal,
            },
        )
    }));
    let api = Api::all(bare().await.client().await.unwrap());
    let mut kinds = Vec::new();
    for (number, (path, heard)) in heard.into_iter().enumerate() {
        kinds.push(stored(&api, &path, number, heard).await);
    }
    kinds.sort();
    kinds.dedup();
    assert_eq!(kinds.len(), 6, "every kind but Manual: {kinds:?}");
}
