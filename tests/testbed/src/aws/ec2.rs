//! EC2 over its Query protocol: which instances there are, which tags they carry, and which capacity they are in.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::{
    Aws, World,
    answer::ApiError,
    lock,
    request::{self, Asked},
};

/// The most values of one filter (EC2 API reference, `DescribeInstances`).
const MAX_VALUES: usize = 200;

/// The filters that are known.
const FILTERS: &[&str] = &[
    "instance-id",
    "tag-key",
    "capacity-reservation-id",
    "instance-state-name",
];

/// The instances.
#[derive(Debug)]
pub(super) struct Ec2 {
    instances: BTreeMap<String, Instance>,
    /// The most instances in one answer, whatever is asked for: EC2 may always answer with fewer.
    page: usize,
}

/// What EC2 knows of an instance.
#[derive(Debug)]
struct Instance {
    tag_keys: BTreeSet<String>,
    reservation: Option<String>,
    /// As EC2 writes it.
    state: String,
}

impl Default for Instance {
    fn default() -> Self {
        Self {
            tag_keys: BTreeSet::new(),
            reservation: None,
            state: "running".to_owned(),
        }
    }
}

impl Instance {
    fn state(&self) -> Value {
        let states = [
            ("pending", 0),
            ("running", 16),
            ("shutting-down", 32),
            ("terminated", 48),
            ("stopping", 64),
            ("stopped", 80),
        ];
        let code = states.iter().find(|(name, _)| *name == self.state);
        json!({ "code": code.map(|(_, code)| code), "name": self.state })
    }
}

impl Default for Ec2 {
    fn default() -> Self {
        Self {
            instances: BTreeMap::new(),
            page: 1000,
        }
    }
}

impl Aws {
    /// Lets EC2 know an instance with these keys of tags, or changes them.
    pub fn tag_instance(&self, instance_id: &str, tag_keys: &[&str]) {
        let keys = tag_keys.iter().map(|&key| key.to_owned()).collect();
        self.instance(instance_id, |instance| instance.tag_keys = keys);
    }

    /// Lets EC2 know an instance that runs in this capacity reservation, or moves it there.
    pub fn reserve_instance(&self, instance_id: &str, reservation_id: &str) {
        let reservation = Some(reservation_id.to_owned());
        self.instance(instance_id, |instance| instance.reservation = reservation);
    }

    /// Terminates an instance; EC2 goes on to tell of it.
    pub fn end_instance(&self, instance_id: &str) {
        self.move_instance(instance_id, "terminated");
    }

    /// Lets an instance go to this state, as EC2 writes it; no event tells of it.
    pub fn move_instance(&self, instance_id: &str, state: &str) {
        self.instance(instance_id, |instance| {
            state.clone_into(&mut instance.state);
        });
    }

    fn instance(&self, instance_id: &str, change: impl FnOnce(&mut Instance)) {
        let mut ec2 = lock(&self.world.ec2);
        change(ec2.instances.entry(instance_id.into()).or_default());
    }

    /// Answers `DescribeInstances` with at most so many instances at a time.
    pub fn page_instances(&self, most: usize) {
        lock(&self.world.ec2).page = most;
    }
}

/// What is asked for.
#[derive(Debug, Default)]
struct DescribeInstances {
    filters: BTreeMap<u32, Filter>,
    max_results: Option<usize>,
    next_token: Option<usize>,
}

#[derive(Debug, Default)]
struct Filter {
    name: String,
    values: Vec<String>,
}

pub(super) fn perform(world: &World, asked: &Asked) -> Result<Value, ApiError> {
    match asked.operation.as_str() {
        "DescribeInstances" => {
            let input = DescribeInstances::read(asked)?;
            Ok(describe(&lock(&world.ec2), &input))
        }
        _ => Err(request::unknown_operation(asked)),
    }
}

fn invalid(code: &str, message: impl Into<String>) -> ApiError {
    ApiError::coral(400, code, message).broken_rule()
}

impl DescribeInstances {
    /// Reads the flat parameters; any that is not known is refused.
    fn read(asked: &Asked) -> Result<Self, ApiError> {
        let mut input = Self::default();
        let params = asked.params.as_object().into_iter().flatten();
        for (name, value) in params {
            let value = value.as_str().unwrap_or_default();
            let unknown = || invalid("UnknownParameter", format!("no parameter {name}"));
            let number = || {
                let wrong = || invalid("InvalidParameterValue", format!("{name} is no number"));
                value.parse::<usize>().map_err(|_| wrong())
            };
            let parts: Vec<&str> = name.split('.').collect();
            match parts.as_slice() {
                ["MaxResults"] => input.max_results = Some(number()?),
                ["NextToken"] => input.next_token = Some(number()?),
                ["Filter", at, rest @ ..] => {
                    let at = at.parse().map_err(|_| unknown())?;
                    let filter = input.filters.entry(at).or_default();
                    match rest {
                        ["Name"] => value.clone_into(&mut filter.name),
                        ["Value", _] => filter.values.push(value.to_owned()),
                        _ => return Err(unknown()),
                    }
                }
                _ => return Err(unknown()),
            }
        }
        input.check()?;
        Ok(input)
    }

    fn check(&self) -> Result<(), ApiError> {
        if self.max_results.is_some_and(|n| !(5..=1000).contains(&n)) {
            let message = "MaxResults must be between 5 and 1000";
            return Err(invalid("InvalidParameterValue", message));
        }
        for filter in self.filters.values() {
            if filter.values.is_empty() || filter.values.len() > MAX_VALUES {
                let message = format!("filter {} has not 1 to 200 values", filter.name);
                return Err(invalid("FilterLimitExceeded", message));
            }
            if !FILTERS.contains(&filter.name.as_str()) {
                let message = format!("The filter '{}' is invalid", filter.name);
                return Err(invalid("InvalidParameterValue", message));
            }
        }
        Ok(())
    }

    fn fits(&self, instance_id: &str, instance: &Instance) -> bool {
        self.filters.values().all(|filter| {
            filter.values.iter().any(|value| {
                let value = literal(value);
                match filter.name.as_str() {
                    "instance-id" => instance_id == value,
                    "capacity-reservation-id" => instance.reservation.as_ref() == Some(&value),
                    "instance-state-name" => instance.state()["name"] == value,
                    _ => instance.tag_keys.contains(&value),
                }
            })
        })
    }
}

/// A filter's value without its escapes. A bare `*` or `?` is a wildcard to EC2: nobody here means one.
fn literal(value: &str) -> String {
    let mut literal = String::new();
    let mut rest = value.chars();
    while let Some(character) = rest.next() {
        literal.extend(match character {
            '\\' => rest.next(),
            '*' | '?' => None,
            other => Some(other),
        });
    }
    literal
}

fn describe(ec2: &Ec2, input: &DescribeInstances) -> Value {
    let start = input.next_token.unwrap_or_default();
    let most = input.max_results.unwrap_or(1000).min(ec2.page);
    let fitting = ec2
        .instances
        .iter()
        .filter(|(id, instance)| input.fits(id, instance));
    let mut page: Vec<Value> = fitting
        .skip(start)
        .take(most + 1)
        .map(|(id, instance)| reservation(id, instance))
        .collect();
    let more = page.len() > most;
    page.truncate(most);
    let mut answer = json!({ "reservationSet": page });
    if more {
        answer["nextToken"] = json!((start + most).to_string());
    }
    answer
}

fn reservation(instance_id: &str, instance: &Instance) -> Value {
    let tags: Vec<Value> = instance
        .tag_keys
        .iter()
        .map(|key| json!({ "key": key, "value": "" }))
        .collect();
    let mut described = json!({
        "instanceId": instance_id,
        "instanceState": instance.state(),
        "tagSet": tags,
    });
    if let Some(reservation) = &instance.reservation {
        described["capacityReservationId"] = json!(reservation);
    }
    json!({
        "reservationId": format!("r-{}", instance_id.trim_start_matches("i-")),
        "ownerId": super::ACCOUNT,
        "instancesSet": [described],
    })
}
