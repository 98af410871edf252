//! A capacity reservation that ends: EC2 is asked for its instances, and each is heard of as if the message had named it.

use super::message::{Disposition, is_past};
use super::record::Settled;
use super::sqs::{Monitor, Receiver};
use super::trouble::Question;
use crate::api::termination::SignalKind;
use crate::aws::{Account, Error, Message};
use crate::event::{Heard, Reservation};

impl Monitor {
    /// Records what the message says of each instance. Before its deadline it is not lost for EC2's silence.
    pub(super) async fn reservation(
        &self,
        message: &Message,
        reservation: &Reservation,
        receiver: Receiver<'_>,
    ) -> Disposition {
        let count = |outcome| {
            let metrics = &self.recorder.metrics;
            metrics.signal(SignalKind::CapacityReservation, outcome);
        };
        let deadline = Some(reservation.deadline);
        match self.instances_of(reservation).await {
            Ok(heard) if heard.is_empty() => {
                count("UnknownInstance");
                self.unknown(message, deadline)
            }
            Ok(heard) => {
                let nodes = self.nodes_among(&heard).collect();
                let instances = receiver.open.instances.as_ref();
                let managed = self.managed(instances, nodes).await;
                self.record_all(message, heard, &managed, receiver).await
            }
            Err(_told) => {
                count("InstancesUnknown");
                if is_past(deadline) {
                    Disposition::Delete(vec![Settled::Nothing("Expired")])
                } else {
                    Disposition::Leave
                }
            }
        }
    }

    async fn instances_of(&self, reservation: &Reservation) -> Result<Vec<Heard>, Error> {
        let mut account: Account = self.key.account.clone();
        if !reservation.region.is_empty() {
            account.region.clone_from(&reservation.region);
        }
        let id = &reservation.reservation_id;
        let reservations = self.aws.reservations(&account).await;
        match reservations.instances(id).await {
            Ok(instances) => {
                self.answered(Question::Reservation);
                tracing::info!(queue = self.key.url, reservation = id, instances = instances.len(), deadline = %reservation.deadline, "a capacity reservation ends");
                Ok(reservation.heard(instances))
            }
            Err(error) => {
                self.troubled(Question::Reservation, &error);
                Err(error)
            }
        }
    }
}
