//! How a queue is read, when several sources may name it.

use std::collections::BTreeSet;

use crate::api::policy::{LaunchHooks, Mode, SqsSource, UnknownInstances};

/// How a queue is read. Where sources that share one differ: each lets through what it asks for, and what is not for
/// sure nobody else's is not deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Long polls side by side: the most that any asks for.
    pub receivers: u32,
    /// The shortest that any asks for.
    pub visibility_timeout_seconds: u32,
    /// Delete only if all say so.
    pub unknown_instances: UnknownInstances,
    /// An instance is acted on if it carries a tag with any of these keys. `None`: every one, for a source asks for none.
    pub managed_tags: Option<BTreeSet<String>>,
    /// Which launches are completed.
    pub launches: LaunchSettings,
}

/// Which launches are completed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LaunchSettings {
    /// Those of these groups.
    pub groups: Groups,
    /// A policy that only observes reads the queue too: messages about other launches are never deleted.
    pub observed: bool,
}

/// A choice of Auto Scaling groups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Groups {
    /// All of them.
    Every,
    /// These.
    Named(BTreeSet<String>),
}

impl Default for Groups {
    fn default() -> Self {
        Self::Named(BTreeSet::new())
    }
}

impl Groups {
    /// Whether the group is among them.
    #[must_use]
    pub fn include(&self, group: &str) -> bool {
        match self {
            Self::Every => true,
            Self::Named(names) => names.contains(group),
        }
    }

    fn join(self, other: Self) -> Self {
        match (self, other) {
            (Self::Named(mut names), Self::Named(more)) => {
                names.extend(more);
                Self::Named(names)
            }
            _ => Self::Every,
        }
    }
}

impl LaunchSettings {
    fn of(hooks: &LaunchHooks, mode: Mode) -> Self {
        let names = &hooks.auto_scaling_group_names;
        let groups = match (mode, hooks.complete, names.is_empty()) {
            (Mode::Enforce, true, true) => Groups::Every,
            (Mode::Enforce, true, false) => Groups::Named(names.iter().cloned().collect()),
            (Mode::Enforce, false, _) | (Mode::Observe, ..) => Groups::default(),
        };
        Self {
            groups,
            observed: mode == Mode::Observe,
        }
    }
}

impl Settings {
    /// What one source asks for, in a policy of this mode.
    #[must_use]
    pub fn of(source: &SqsSource, mode: Mode) -> Self {
        Self {
            receivers: source.receivers,
            visibility_timeout_seconds: source.visibility_timeout_seconds,
            unknown_instances: source.unknown_instances,
            managed_tags: source.managed_tag.clone().map(|key| [key].into()),
            launches: LaunchSettings::of(&source.launch_hooks, mode),
        }
    }

    /// What two sources ask for that name one queue.
    #[must_use]
    pub fn join(self, other: Self) -> Self {
        let leave = self.unknown_instances == UnknownInstances::Leave
            || other.unknown_instances == UnknownInstances::Leave;
        let tags = self.managed_tags.zip(other.managed_tags);
        Self {
            receivers: self.receivers.max(other.receivers),
            visibility_timeout_seconds: self
                .visibility_timeout_seconds
                .min(other.visibility_timeout_seconds),
            unknown_instances: if leave {
                UnknownInstances::Leave
            } else {
                UnknownInstances::Delete
            },
            managed_tags: tags.map(|(one, more)| one.into_iter().chain(more).collect()),
            launches: LaunchSettings {
                groups: self.launches.groups.join(other.launches.groups),
                observed: self.launches.observed || other.launches.observed,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source() -> SqsSource {
        SqsSource {
            queue_url: "https://sqs.eu-west-1.amazonaws.com/123456789012/q".into(),
            region: None,
            role_arn: None,
            external_id: None,
            receivers: 1,
            visibility_timeout_seconds: 30,
            unknown_instances: UnknownInstances::Delete,
            managed_tag: None,
            launch_hooks: LaunchHooks::default(),
        }
    }

    fn launching(complete: bool, groups: &[&str], mode: Mode) -> Settings {
        let launch_hooks = LaunchHooks {
            complete,
            auto_scaling_group_names: groups.iter().map(|&g| g.to_owned()).collect(),
        };
        let source = SqsSource {
            launch_hooks,
            ..source()
        };
        Settings::of(&source, mode)
    }

    fn tagged(key: Option<&str>) -> Settings {
        let source = SqsSource {
            managed_tag: key.map(str::to_owned),
            ..source()
        };
        Settings::of(&source, Mode::Enforce)
    }

    #[test]
    fn the_most_careful_setting_holds() {
        let other = SqsSource {
            receivers: 4,
            visibility_timeout_seconds: 15,
            unknown_instances: UnknownInstances::Leave,
            ..source()
        };
        let [one, other] = [source(), other].map(|s| Settings::of(&s, Mode::Enforce));
        let joined = one.join(other);
        assert_eq!(
            (joined.receivers, joined.visibility_timeout_seconds),
            (4, 15)
        );
        assert_eq!(joined.unknown_instances, UnknownInstances::Leave);
    }

    #[test]
    fn a_tag_is_asked_for_only_if_every_source_asks_for_one() {
        let keys = |keys: &[&str]| Some(keys.iter().map(|&k| k.to_owned()).collect());
        for (one, other, joined) in [
            (Some("a"), Some("a"), keys(&["a"])),
            (Some("a"), Some("b"), keys(&["a", "b"])),
            (Some("a"), None, None),
            (None, None, None),
        ] {
            let tags = tagged(one).join(tagged(other)).managed_tags;
            assert_eq!(tags, joined, "{one:?} {other:?}");
        }
    }

    #[test]
    fn launches_are_completed_for_every_policy_that_asks_and_none_that_observes() {
        let named = |names: &[&str]| Groups::Named(names.iter().map(|&n| n.to_owned()).collect());
        let (asks, asks_not) = (true, false);
        let enforce = |complete, groups| launching(complete, groups, Mode::Enforce);
        let observe = |complete, groups| launching(complete, groups, Mode::Observe);
        for (one, other, groups, observed) in [
            (
                enforce(asks_not, &[]),
                enforce(asks_not, &["a"]),
                named(&[]),
                false,
            ),
            (
                enforce(asks, &["a"]),
                enforce(asks, &["b"]),
                named(&["a", "b"]),
                false,
            ),
            (
                enforce(asks, &["a"]),
                enforce(asks, &[]),
                Groups::Every,
                false,
            ),
            (
                enforce(asks, &["a"]),
                observe(asks, &["b"]),
                named(&["a"]),
                true,
            ),
            (observe(asks, &[]), observe(asks, &["a"]), named(&[]), true),
        ] {
            let launches = LaunchSettings { groups, observed };
            assert_eq!(one.clone().join(other.clone()).launches, launches);
            assert_eq!(other.join(one).launches, launches);
        }
    }
}
