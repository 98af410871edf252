//! Instances, by their tags and their capacity reservation, through the EC2 SDK.

use anyhow::ensure;
use aws_sdk_ec2::operation::describe_instances::DescribeInstancesOutput;
use aws_sdk_ec2::types::{Filter, Reservation};
use testbed::aws::{Aws, Fault, FaultKind};

use super::{INSTANCE, client, refusal};

async fn ec2(aws: &Aws) -> aws_sdk_ec2::Client {
    let credentials = client::credentials(&aws.env());
    aws_sdk_ec2::Client::new(&client::config(&aws.endpoint(), credentials).await)
}

fn filter(name: &str, values: &[&str]) -> Filter {
    let values = values.iter().map(|&value| value.to_owned()).collect();
    Filter::builder()
        .name(name)
        .set_values(Some(values))
        .build()
}

#[tokio::test]
async fn instances_are_found_by_id_and_by_the_keys_of_their_tags_page_by_page() -> anyhow::Result<()>
{
    let aws = Aws::start()?;
    let ids: Vec<String> = (0..7).map(|n| format!("i-0aaa11112222333{n:02}")).collect();
    for (n, id) in ids.iter().enumerate() {
        let keys: &[&str] = if n % 2 == 0 {
            &["managed", "a*b"]
        } else {
            &["Managed"]
        };
        aws.tag_instance(id, keys);
    }
    let client = ec2(&aws).await;
    let all: Vec<&str> = ids.iter().map(String::as_str).collect();
    for (key, found) in [("managed", 4), ("Managed", 3), ("a\\*b", 4), ("a*b", 0)] {
        for page in [1000, 3] {
            aws.page_instances(page);
            let pages = client
                .describe_instances()
                .filters(filter("instance-id", &all))
                .filters(filter("tag-key", &[key]))
                .into_paginator()
                .send();
            let pages = pages.try_collect().await?;
            let reservations = pages.iter().flat_map(DescribeInstancesOutput::reservations);
            let instances: Vec<_> = reservations.flat_map(Reservation::instances).collect();
            ensure!(instances.len() == found, "{key} {page}: {instances:?}");
            ensure!(instances.iter().all(|i| !i.tags().is_empty()));
        }
    }
    ensure!(aws.violations().is_empty());
    Ok(())
}

#[tokio::test]
async fn instances_are_found_by_their_reservation_and_state() -> anyhow::Result<()> {
    let aws = Aws::start()?;
    for (instance, reservation) in [("i-1", "cr-1"), ("i-2", "cr-1"), ("i-3", "cr-2")] {
        aws.reserve_instance(instance, reservation);
    }
    aws.tag_instance("i-1", &["managed"]);
    aws.end_instance("i-2");
    let client = ec2(&aws).await;
    for (state, found) in [("running", "i-1"), ("terminated", "i-2")] {
        let answer = client
            .describe_instances()
            .filters(filter("capacity-reservation-id", &["cr-1"]))
            .filters(filter("instance-state-name", &[state]))
            .send()
            .await?;
        let instances = answer.reservations().iter();
        let instances: Vec<_> = instances.flat_map(Reservation::instances).collect();
        ensure!(instances.len() == 1 && instances[0].instance_id() == Some(found));
        ensure!(instances[0].capacity_reservation_id() == Some("cr-1"));
    }
    ensure!(aws.violations().is_empty());
    Ok(())
}

#[tokio::test]
async fn what_ec2_would_refuse_is_refused() -> anyhow::Result<()> {
    let aws = Aws::start()?;
    let client = ec2(&aws).await;
    let describe = || client.describe_instances();
    for (request, code) in [
        (describe().instance_ids(INSTANCE), "UnknownParameter"),
        (describe().max_results(4), "InvalidParameterValue"),
        (
            describe().filters(filter("colour", &["red"])),
            "InvalidParameterValue",
        ),
        (
            describe().filters(filter("tag-key", &["k"; 201])),
            "FilterLimitExceeded",
        ),
    ] {
        ensure!(refusal(request.send().await)?.0 == code, "{code}");
    }
    ensure!(aws.violations().len() == 4);
    for (kind, code) in [
        (FaultKind::Throttling, "RequestLimitExceeded"),
        (FaultKind::AccessDenied, "UnauthorizedOperation"),
    ] {
        let _fault = aws.inject(Fault::new("DescribeInstances", kind));
        ensure!(refusal(describe().send().await)?.0 == code);
    }
    Ok(())
}
