//! What the process does with what it is given at its start.

use std::process::Command;

#[test]
fn a_process_that_is_given_few_descriptors_takes_as_many_as_it_may() {
    let binary = env!("CARGO_BIN_EXE_node-termination-operator");
    // It ends by itself: there is no cluster.
    let script = format!("ulimit -Sn 100 && exec {binary} controller --http-address 127.0.0.1:0");
    let output = Command::new("sh")
        .args(["-c", &script])
        .env("KUBECONFIG", "/nowhere")
        .output()
        .unwrap();
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    let raised = said.lines().find(|l| l.contains("open descriptors"));
    let raised = raised.unwrap_or_else(|| panic!("{said}"));
    let log: serde_json::Value = serde_json::from_str(raised).unwrap();
    let hard = log["fields"]["to"].as_u64().or(log["to"].as_u64());
    assert!(hard.unwrap() > 100, "{raised}");
}
