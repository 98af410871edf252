//! The instances that pass some filters, all pages of them.

use std::collections::BTreeSet;

use aws_sdk_ec2::Client;
use aws_sdk_ec2::types::{Filter, Instance};

use crate::aws::call::{CALL_TIMEOUT, call};
use crate::aws::{Error, Metrics, Operation, Reason};

/// EC2 may answer with less than was asked for, but hardly with less than one instance a page, and nobody asks for more
/// than a hundred pages of them.
const PAGES_MAX: usize = 100;

/// Their IDs. Fails if any page does.
pub(super) async fn found(
    client: &Client,
    metrics: &Metrics,
    filters: Vec<Filter>,
) -> Result<BTreeSet<String>, Error> {
    let described = described(client, metrics, filters).await?;
    Ok(described
        .into_iter()
        .filter_map(|i| i.instance_id)
        .collect())
}

/// All that EC2 tells of them. Fails if any page does.
pub(super) async fn described(
    client: &Client,
    metrics: &Metrics,
    filters: Vec<Filter>,
) -> Result<Vec<Instance>, Error> {
    let request = client.describe_instances().set_filters(Some(filters));
    let operation = Operation::DescribeInstances;
    let (mut found, mut token) = (Vec::new(), None);
    for _page in 0..PAGES_MAX {
        let request = request.clone().set_next_token(token);
        let answer = call(metrics, operation, CALL_TIMEOUT, request.send()).await?;
        let reservations = answer.reservations.unwrap_or_default().into_iter();
        found.extend(reservations.flat_map(|r| r.instances.unwrap_or_default()));
        token = answer.next_token.filter(|token| !token.is_empty());
        if token.is_none() {
            return Ok(found);
        }
    }
    let message = "the answer has no end";
    Err(Error::new(operation, Reason::Unavailable, message))
}

pub(super) fn filter(name: &str, values: impl Iterator<Item = String>) -> Filter {
    Filter::builder()
        .name(name)
        .set_values(Some(values.collect()))
        .build()
}

/// A value that a filter takes as it is: `*` and `?` are wildcards otherwise (EC2 User Guide, "List and filter your
/// resources").
pub(super) fn literal(value: &str) -> String {
    let mut literal = String::with_capacity(value.len());
    for character in value.chars() {
        if matches!(character, '*' | '?' | '\\') {
            literal.push('\\');
        }
        literal.push(character);
    }
    literal
}
