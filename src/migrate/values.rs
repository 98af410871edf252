//! A values file of NTH's chart, read as the chart and the process read it.

use std::collections::BTreeMap;

use serde_yaml::{Mapping, Value};

use super::Error;
use super::note::{About, Notes};
use super::setting::{Home, Reader, SETTINGS, named, of_env, of_value};

/// Where the process's own default is not the chart's: an empty value lets it show.
const OF_THE_PROCESS: &[(&str, &str)] = &[("enableASGLifecycleDraining", "false")];

/// What is said about one setting.
#[derive(Clone, Debug, PartialEq)]
enum Said {
    /// A scalar, as text; a null is empty.
    Text(String),
    /// A mapping or a list.
    Tree(Value),
    /// It comes from a Secret, a `ConfigMap` or a field of the pod.
    Unreadable,
}

/// What a values file says about NTH's settings.
#[derive(Clone, Debug)]
pub struct Values {
    /// Each setting that is given: how the file calls it, and what it says.
    given: BTreeMap<&'static str, (String, Said)>,
    /// It is an installation in queue mode.
    pub queue: bool,
}

impl Values {
    /// Reads the file and notes what is no setting. Fails if it is no YAML mapping, or if `extraEnv` is no list of variables.
    pub fn read(text: &str, notes: &mut Notes) -> Result<Self, Error> {
        let mut values = Self {
            given: BTreeMap::new(),
            queue: false,
        };
        for (key, value) in mapping(text)? {
            let name = text_of(&key).unwrap_or_else(|| "a key that is no text".to_owned());
            match (name.as_str(), of_value(&name), &value) {
                ("extraEnv", ..) => {}
                (_, Some(setting), _) => {
                    let said = text_of(&value).map_or_else(|| Said::Tree(value.clone()), Said::Text);
                    values.given.insert(setting.name(), (name, said));
                }
                (_, None, Value::Mapping(_)) => notes.add(
                    About::Unknown,
                    &name,
                    "no value of NTH's chart 0.27; if NTH's chart is a dependency here, give what stands below it as a \
                     file of its own",
                ),
                _ => notes.add(About::Unknown, &name, "no value of NTH's chart 0.27"),
            }
        }
        // Helm asks for anything that is not empty, be it the text "false"; the process is told by the chart.
        values.queue = match values.given.get("enableSqsTerminationDraining") {
            Some((_, Said::Text(text))) => !["", "false", "0"].contains(&text.as_str()),
            Some((_, Said::Tree(_))) => true,
            _ => false,
        };
        values.read_extra_env(text, notes)?;
        Ok(values)
    }

    /// The chart puts these last, so they win over what it sets itself.
    fn read_extra_env(&mut self, text: &str, notes: &mut Notes) -> Result<(), Error> {
        let variables = match mapping(text)?.remove("extraEnv") {
            None | Some(Value::Null) => return Ok(()),
            Some(Value::Sequence(variables)) => variables,
            Some(_) => return Err(Error::ExtraEnv),
        };
        for variable in variables {
            let name = variable.get("name").and_then(Value::as_str);
            let name = name.ok_or(Error::ExtraEnv)?.to_owned();
            let Some(setting) = of_env(&name) else {
                let text = "no variable of NTH; if the process needs it, set it in the controller's environment";
                notes.add(About::Unknown, &format!("extraEnv {name}"), text);
                continue;
            };
            let said = match variable.get("value").map(text_of) {
                Some(Some(text)) => Said::Text(text),
                Some(None) => return Err(Error::ExtraEnv),
                None if variable.get("valueFrom").is_some() => Said::Unreadable,
                None => Said::Text(String::new()),
            };
            let shown = format!("extraEnv {name}");
            self.given.insert(setting.name(), (shown, said));
        }
        if let Some((_, Said::Text(text))) = self.given.get("enableSqsTerminationDraining") {
            self.queue = is_true("enableSqsTerminationDraining", text)?;
        }
        Ok(())
    }

    /// Notes each setting that is given, is not the chart's default, and does not reach the policy.
    pub fn note(&self, notes: &mut Notes) {
        for setting in SETTINGS {
            let Some((shown, said)) = self.given.get(setting.name()) else {
                continue;
            };
            if is_default(said, setting.default) {
                continue;
            }
            let unread = match (setting.reader, self.queue) {
                (Reader::Queue, false) => Some("NTH looks at it in queue mode only"),
                (Reader::Metadata, true) => Some("NTH looks at it in metadata mode only"),
                _ => None,
            };
            match (unread, setting.home) {
                (Some(why), _) => notes.add(About::Unread, shown, why),
                (None, Home::Elsewhere(place)) => notes.add(About::Elsewhere, shown, place),
                (None, Home::Nowhere(why)) => notes.add(About::Nowhere, shown, why),
                (None, Home::Placement) => {
                    let (about, text) = self.placement(said);
                    notes.add(about, shown, text);
                }
                (None, Home::Policy) if *said == Said::Unreadable => {
                    let why = "its value stands in a Secret, a ConfigMap or a field of the pod; what would follow from it \
                               is not in this policy";
                    notes.add(About::Differs, shown, why);
                }
                (None, Home::Policy) => {}
            }
        }
    }

    /// What follows from where NTH's pods may run: a DaemonSet serves the nodes that it runs on.
    fn placement(&self, said: &Said) -> (About, &'static str) {
        if self.queue {
            let text =
                "the manifests: it says where the controller runs, not which nodes it acts on";
            (About::Elsewhere, text)
        } else if tolerates_all(said) {
            let text = "the agent's manifests; it keeps NTH from no node";
            (About::Elsewhere, text)
        } else if self.selects_nodes() {
            let text = "the policy below speaks for ALL nodes that its nodeSelector selects; NTH ran only where this let \
                        it as well: narrow spec.nodeSelector accordingly, and place the agent's DaemonSet alike";
            (About::Differs, text)
        } else {
            let text = "the policy below speaks for ALL nodes; NTH ran only where this let it: write spec.nodeSelector, \
                        and place the agent's DaemonSet alike";
            (About::Differs, text)
        }
    }

    /// Whether the policy gets a selector in metadata mode.
    fn selects_nodes(&self) -> bool {
        let names = ["linuxNodeSelector", "nodeSelector", "daemonsetNodeSelector"];
        let mut given = names.iter().filter_map(|name| self.given.get(name));
        given.any(|(_, said)| !is_default(said, ""))
    }

    /// How the file calls a setting.
    pub fn shown<'a>(&'a self, name: &'a str) -> &'a str {
        self.given.get(name).map_or(name, |(shown, _)| shown)
    }

    /// What NTH takes for a setting that is a text; empty: nothing.
    pub fn text(&self, name: &'static str) -> Result<String, Error> {
        let default = named(name).map_or("", |setting| setting.default);
        match self.given.get(name) {
            None | Some((_, Said::Unreadable)) => Ok(default.to_owned()),
            Some((_, Said::Text(text))) if text.is_empty() => {
                let own = OF_THE_PROCESS.iter().find(|(n, _)| *n == name);
                Ok(own.map_or(default, |(_, own)| own).to_owned())
            }
            Some((_, Said::Text(text))) => Ok(text.clone()),
            Some((shown, Said::Tree(_))) => Err(Error::Value {
                name: shown.clone(),
                text: "a mapping or a list".to_owned(),
                wanted: "a plain value",
            }),
        }
    }

    /// What NTH takes for a switch. Fails for a text that would end NTH.
    pub fn is_on(&self, name: &'static str) -> Result<bool, Error> {
        is_true(self.shown(name), &self.text(name)?)
    }

    /// What NTH takes for a number. Fails for a text that would end NTH.
    pub fn number(&self, name: &'static str) -> Result<i64, Error> {
        let text = self.text(name)?;
        text.parse().map_err(|_| Error::Value {
            name: self.shown(name).to_owned(),
            text,
            wanted: "a whole number",
        })
    }

    /// Whether a setting's value can not be read here.
    pub fn is_unreadable(&self, name: &str) -> bool {
        matches!(self.given.get(name), Some((_, Said::Unreadable)))
    }

    /// Labels, if the setting names any. Fails if it is no mapping of plain values.
    pub fn labels(&self, name: &'static str) -> Result<BTreeMap<String, String>, Error> {
        let wrong = || Error::Value {
            name: name.to_owned(),
            text: "what stands there".to_owned(),
            wanted: "a mapping of labels to values of at most 63 characters",
        };
        let entries = match self.given.get(name) {
            None => return Ok(BTreeMap::new()),
            Some((_, Said::Text(text))) if text.is_empty() => return Ok(BTreeMap::new()),
            Some((_, Said::Tree(Value::Mapping(entries)))) => entries,
            Some(_) => return Err(wrong()),
        };
        let label = |(key, value): (&Value, &Value)| {
            let value = text_of(value).filter(|v| v.chars().count() <= 63)?;
            Some((text_of(key)?, value))
        };
        let labels = entries
            .iter()
            .map(label)
            .collect::<Option<BTreeMap<_, _>>>();
        labels.filter(|l| l.len() <= 64).ok_or_else(wrong)
    }
}

/// The file's top level. A file without a word means the chart's defaults.
fn mapping(text: &str) -> Result<Mapping, Error> {
    let mut values: Value = serde_yaml::from_str(text).map_err(Error::Yaml)?;
    values.apply_merge().map_err(Error::Yaml)?;
    let found = match values {
        Value::Null => return Ok(Mapping::new()),
        Value::Mapping(values) => return Ok(values),
        Value::Sequence(_) => "a list",
        Value::Tagged(_) => "a value with a tag",
        Value::Bool(_) | Value::Number(_) | Value::String(_) => "a single value",
    };
    let says = |line: &str| !["", "---"].contains(&line) && !line.starts_with(['#', '%']);
    let before = text.lines().take_while(|line| !says(line.trim())).count();
    Err(Error::NoMapping {
        found,
        line: before + 1,
    })
}

/// A scalar as Helm prints it, nothing for a mapping or a list.
fn text_of(value: &Value) -> Option<String> {
    match value {
        Value::Null => Some(String::new()),
        Value::Bool(on) => Some(on.to_string()),
        Value::Number(number) => Some(number.to_string()),
        Value::String(text) => Some(text.clone()),
        Value::Tagged(tagged) => text_of(&tagged.value),
        Value::Sequence(_) | Value::Mapping(_) => None,
    }
}

/// As Go reads a boolean (strconv.ParseBool).
fn is_true(name: &str, text: &str) -> Result<bool, Error> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(Error::Value {
            name: name.to_owned(),
            text: format!("`{text}`"),
            wanted: "true or false",
        }),
    }
}

/// Tolerations that let a pod run on every node.
fn tolerates_all(said: &Said) -> bool {
    let Said::Tree(Value::Sequence(tolerations)) = said else {
        return false;
    };
    let is_said = |toleration: &Value, key| {
        let text = toleration.get(key).and_then(text_of);
        text.is_some_and(|text| !text.is_empty())
    };
    tolerations.iter().any(|toleration| {
        toleration.get("operator").and_then(Value::as_str) == Some("Exists")
            && !is_said(toleration, "key")
            && !is_said(toleration, "effect")
    })
}

fn is_default(said: &Said, default: &str) -> bool {
    match said {
        Said::Text(text) => text.is_empty() || text.eq_ignore_ascii_case(default),
        Said::Tree(Value::Mapping(entries)) => entries.is_empty(),
        Said::Tree(Value::Sequence(entries)) => entries.is_empty(),
        Said::Tree(_) | Said::Unreadable => false,
    }
}
