//! What the wrapper promises, on small shell programs.

use super::*;

fn spawn(folder: &Path, script: &str) -> Child {
    let mut command = Command::new("/bin/sh");
    command
        .args(["-c", script])
        .env("WORD", "from the environment")
        .current_dir(folder);
    Child::spawn("a script", &command, &folder.join("log")).unwrap()
}

#[tokio::test]
async fn arguments_environment_and_folder_reach_the_program_and_its_output_the_log() {
    let folder = tempfile::tempdir().unwrap();
    let child = spawn(folder.path(), "echo $WORD; pwd >&2; exit 3");
    let status = child.wait(Duration::from_secs(5)).await.unwrap();
    assert_eq!(status.code(), Some(3));
    let expected = format!("from the environment\n{}\n", folder.path().display());
    assert_eq!(child.logs(), expected);
    assert!(
        child
            .check()
            .unwrap_err()
            .to_string()
            .contains("from the environment")
    );
}

#[tokio::test]
async fn sigterm_can_be_handled_and_sigkill_cannot() {
    let folder = tempfile::tempdir().unwrap();
    let polite = spawn(
        folder.path(),
        "trap 'exit 7' TERM; echo ready; while :; do sleep 0.01; done",
    );
    while !polite.logs().contains("ready") {
        tokio::time::sleep(POLL).await;
    }
    polite.terminate().unwrap();
    assert_eq!(
        polite.wait(Duration::from_secs(5)).await.unwrap().code(),
        Some(7)
    );

    let stubborn = spawn(folder.path(), "trap '' TERM; while :; do sleep 0.01; done");
    assert!(stubborn.wait(Duration::from_millis(50)).await.is_err());
    stubborn.kill();
    assert_eq!(stubborn.wait(Duration::ZERO).await.unwrap().code(), None);
}

#[test]
fn memory_and_processor_time_are_measured_while_it_runs() {
    let folder = tempfile::tempdir().unwrap();
    let child = spawn(folder.path(), "while :; do :; done");
    while child.cpu_time().unwrap() < Duration::from_millis(20) {
        std::thread::sleep(POLL);
    }
    assert!(child.rss_bytes().unwrap() > 100_000);
    assert!(child.peak_rss_bytes().unwrap() >= child.rss_bytes().unwrap());
    child.kill();
    assert!(child.rss_bytes().is_err());
}
