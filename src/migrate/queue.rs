//! The queue of an installation in queue mode.

use super::Error;
use super::note::{About, Notes};
use super::values::Values;
use crate::api::policy::{LaunchHooks, SqsSource, UnknownInstances, defaults, region_of_queue};

/// The longest key of an EC2 tag, in characters (EC2 User Guide, "Tag restrictions").
const TAG_MAX: usize = 128;

/// The source for the queue. Fails without a queue that the API server would take.
pub fn source(values: &Values, notes: &mut Notes) -> Result<SqsSource, Error> {
    let url = url(values)?;
    Ok(SqsSource {
        region: region(values, &url)?,
        role_arn: None,
        external_id: None,
        receivers: defaults::receivers(),
        visibility_timeout_seconds: defaults::visibility_timeout_seconds(),
        unknown_instances: unknown_instances(values, notes)?,
        managed_tag: managed_tag(values, notes)?,
        launch_hooks: launch_hooks(notes),
        queue_url: url,
    })
}

fn url(values: &Values) -> Result<String, Error> {
    if values.is_unreadable("queueURL") {
        return Err(Error::QueueUnreadable);
    }
    let url = values.text("queueURL")?;
    if url.is_empty() {
        return Err(Error::NoQueue);
    }
    if is_queue(&url) {
        Ok(url)
    } else {
        Err(Error::QueueUrl(url))
    }
}

/// What the schema's rule for `queueURL` takes.
fn is_queue(url: &str) -> bool {
    let rest = url.strip_prefix("https://").or(url.strip_prefix("http://"));
    let parts: Vec<&str> = rest.unwrap_or_default().split('/').collect();
    let [host, account, queue] = parts[..] else {
        return false;
    };
    let name = queue.strip_suffix(".fifo").unwrap_or(queue);
    let named = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    url.chars().count() <= 512
        && !host.is_empty()
        && !host.contains([' ', '?', '#'])
        && account.len() == 12
        && account.chars().all(|c| c.is_ascii_digit())
        && (1..=80).contains(&name.len())
        && name.chars().all(named)
}

/// Only what the URL does not say.
fn region(values: &Values, url: &str) -> Result<Option<String>, Error> {
    let region = values.text("awsRegion")?;
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if region.is_empty() {
        return region_of_queue(url).map(|_| None).ok_or(Error::NoRegion);
    }
    if region.len() > 32 || !region.chars().all(plain) {
        return Err(Error::Value {
            name: values.shown("awsRegion").to_owned(),
            text: format!("`{region}`"),
            wanted: "a region, such as eu-west-1",
        });
    }
    Ok((region_of_queue(url) != Some(region.as_str())).then_some(region))
}

fn managed_tag(values: &Values, notes: &mut Notes) -> Result<Option<String>, Error> {
    if !values.is_on("checkTagBeforeDraining")? {
        return Ok(None);
    }
    let tag = values.text("managedTag")?;
    if tag.chars().count() > TAG_MAX {
        return Err(Error::Value {
            name: values.shown("managedTag").to_owned(),
            text: "what stands there".to_owned(),
            wanted: "the key of an EC2 tag: it has more than 128 characters",
        });
    }
    notes.add(
        About::Kept,
        "managedTag",
        "NTH acts only on instances with this EC2 tag (checkTagBeforeDraining); it costs ec2:DescribeInstances. Without \
         it every node of the cluster is served, and no EC2 call is made",
    );
    Ok(Some(tag))
}

fn unknown_instances(values: &Values, notes: &mut Notes) -> Result<UnknownInstances, Error> {
    if values.is_on("deleteSqsMsgIfNodeNotFound")? {
        let name = values.shown("deleteSqsMsgIfNodeNotFound");
        let text = "unknownInstances: Delete deletes the message once it is known that no Node is this instance; NTH also \
                    completes the lifecycle hook, here it is left to time out";
        notes.add(About::Differs, name, text);
        return Ok(UnknownInstances::Delete);
    }
    let text = "Leave: NTH deletes messages about instances that EC2 does not know or that lack the tag; here they go \
                back to the queue for another cluster, and are deleted once their time is over";
    notes.add(About::Differs, "unknownInstances", text);
    Ok(UnknownInstances::Leave)
}

fn launch_hooks(notes: &mut Notes) -> LaunchHooks {
    notes.add(
        About::Kept,
        "launchHooks.complete",
        "NTH completes launch hooks whose events reach the queue. Name autoScalingGroupNames if another cluster shares \
         it; set complete to false if no launch hook is for this operator",
    );
    LaunchHooks {
        complete: true,
        auto_scaling_group_names: Vec::new(),
    }
}
