//! The operator binary.
fn main() {
    for crd in node_termination_operator::api::crds() {
        println!("---\n{}", serde_yaml::to_string(&crd).unwrap());
    }
}
