//! The instances of a capacity reservation. Nothing is kept: it is asked for when one ends, and hardly ever else.

use std::collections::BTreeSet;

use super::found::{filter, found, literal};
use crate::aws::{Error, Metrics};

/// The states of an instance that is still to leave.
const STATES: [&str; 4] = ["pending", "running", "stopping", "stopped"];

/// The capacity reservations of one account and region.
#[derive(Clone, Debug)]
pub struct Reservations {
    client: aws_sdk_ec2::Client,
    metrics: Metrics,
}

impl Reservations {
    pub(in crate::aws) fn new(client: aws_sdk_ec2::Client, metrics: Metrics) -> Self {
        Self { client, metrics }
    }

    /// The instances that were launched into the reservation and are not gone or going. None for a reservation that EC2
    /// does not know here.
    pub async fn instances(&self, reservation_id: &str) -> Result<BTreeSet<String>, Error> {
        let id = [literal(reservation_id)];
        let filters = vec![
            filter("capacity-reservation-id", id.into_iter()),
            filter("instance-state-name", STATES.map(str::to_owned).into_iter()),
        ];
        found(&self.client, &self.metrics, filters).await
    }
}
