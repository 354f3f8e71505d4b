//! What is simulated, as manifests say it.

use crate::{Error, Logs};
use k8s_openapi::api::core::v1::Taint;
use kubeplane_core::quantity::Quantity;
use serde::{Deserialize, Deserializer, Serializer, de::Error as _};
use std::{collections::BTreeMap, str::FromStr, time::Duration};

/// Groups of nodes, and the stages their pods go through.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Simulation {
    /// The groups.
    pub nodes: Vec<NodeGroup>,
    /// The stages; the first whose selector fits is a pod's, and without one the default.
    pub pods: Vec<PodStages>,
}

/// Nodes that are alike, named after their group with a number from 1 on.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct NodeGroup {
    /// What their names begin with, before a dash.
    #[serde(skip)]
    pub name: String,
    /// How many.
    pub count: u32,
    /// Labels beside the usual ones.
    pub labels: BTreeMap<String, String>,
    /// Annotations.
    pub annotations: BTreeMap<String, String>,
    /// What they have, as quantities; by default 32 CPUs, 256Gi of memory and 110 pods.
    pub capacity: BTreeMap<String, String>,
    /// Their taints.
    pub taints: Vec<Taint>,
    /// How long after they appear they are ready.
    #[serde(deserialize_with = "duration")]
    pub ready_delay: Duration,
}

impl Default for NodeGroup {
    fn default() -> Self {
        let capacity =
            [("cpu", "32"), ("memory", "256Gi"), ("ephemeral-storage", "1Ti"), ("pods", "110")];
        let capacity = capacity.map(|(name, amount)| (name.to_owned(), amount.to_owned()));
        Self {
            name: "simulated".to_owned(),
            count: 1,
            labels: BTreeMap::new(),
            annotations: BTreeMap::new(),
            capacity: capacity.into(),
            taints: Vec::new(),
            ready_delay: Duration::ZERO,
        }
    }
}

/// Which pods.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Selector {
    /// Those with all of these labels.
    pub match_labels: BTreeMap<String, String>,
    /// In one of these namespaces; in any when empty.
    pub namespaces: Vec<String>,
}

/// What pods do and when. Times are counted from the stage before, on the clock of the cluster.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct PodStages {
    /// Which pods.
    pub selector: Selector,
    /// How long a pod takes to run once it has its node.
    #[serde(deserialize_with = "duration")]
    pub start_delay: Duration,
    /// By how much it takes longer at most, by chance.
    #[serde(deserialize_with = "duration")]
    pub start_jitter: Duration,
    /// How long it runs before it is ready.
    #[serde(deserialize_with = "duration")]
    pub ready_delay: Duration,
    /// How many of its runs fail, from 0 to 1. It is started again as its restart policy says, after 10 s, 20 s
    /// and so on up to 5 minutes.
    pub failure_rate: f64,
    /// How long a run that fails takes.
    #[serde(deserialize_with = "duration")]
    pub fail_after: Duration,
    /// With what it fails.
    pub exit_code: i32,
    /// How long a run takes of a pod that is not always started again.
    #[serde(deserialize_with = "duration")]
    pub run_for: Duration,
    /// How long a pod takes to go.
    #[serde(deserialize_with = "duration")]
    pub stop_delay: Duration,
    /// What its containers say.
    pub logs: Logs,
    /// What its containers use.
    pub usage: Usage,
}

/// What each container of a pod uses, as quantities; nothing is said of what is empty.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Usage {
    /// Processors, as in `250m`.
    pub cpu: String,
    /// Memory, as in `64Mi`.
    pub memory: String,
}

impl Default for PodStages {
    fn default() -> Self {
        Self {
            selector: Selector::default(),
            start_delay: Duration::ZERO,
            start_jitter: Duration::ZERO,
            ready_delay: Duration::ZERO,
            failure_rate: 0.0,
            fail_after: Duration::ZERO,
            exit_code: 1,
            run_for: Duration::from_secs(1),
            stop_delay: Duration::ZERO,
            logs: Logs::default(),
            usage: Usage::default(),
        }
    }
}

impl Simulation {
    /// So many ready nodes, `simulated-1` and so on, whose pods run at once.
    #[must_use]
    pub fn of_nodes(count: u32) -> Self {
        Self { nodes: vec![NodeGroup { count, ..NodeGroup::default() }], pods: Vec::new() }
    }

    /// How many nodes there are in all groups.
    #[must_use]
    pub fn node_count(&self) -> u32 {
        self.nodes.iter().map(|group| group.count).sum()
    }

    /// Whether it has a node of this name.
    #[must_use]
    pub fn has_node(&self, name: &str) -> bool {
        let Some((group, number)) = name.rsplit_once('-') else { return false };
        let number = number.parse::<u32>().unwrap_or_default();
        let found = self.nodes.iter().find(|known| known.name == group);
        found.is_some_and(|known| (1..=known.count).contains(&number))
    }

    /// With the groups and stages of another, too.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.nodes.extend(other.nodes);
        self.pods.extend(other.pods);
        self
    }

    pub(crate) fn check(&self) -> Result<(), Error> {
        let mut names: Vec<_> = self.nodes.iter().map(|group| group.name.as_str()).collect();
        names.sort_unstable();
        match names.windows(2).find(|pair| pair[0] == pair[1]) {
            Some(pair) => Err(Error::Duplicate { name: pair[0].to_owned() }),
            None => Ok(()),
        }
    }

    pub(crate) fn stages_of(
        &self,
        namespace: &str,
        labels: Option<&BTreeMap<String, String>>,
    ) -> Option<&PodStages> {
        self.pods.iter().find(|stages| {
            let Selector { match_labels, namespaces } = &stages.selector;
            (namespaces.is_empty() || namespaces.iter().any(|own| own == namespace))
                && match_labels.iter().all(|(key, value)| {
                    labels.and_then(|labels| labels.get(key)).is_some_and(|own| own == value)
                })
        })
    }
}

#[derive(Deserialize)]
#[serde(tag = "kind", deny_unknown_fields)]
enum Document {
    Nodes {
        #[serde(default, rename = "apiVersion")]
        _api_version: String,
        #[serde(default)]
        metadata: Metadata,
        #[serde(default)]
        spec: NodeGroup,
    },
    PodStages {
        #[serde(default, rename = "apiVersion")]
        _api_version: String,
        #[serde(default, rename = "metadata")]
        _metadata: Metadata,
        #[serde(default)]
        spec: PodStages,
    },
}

#[derive(Deserialize, Default)]
struct Metadata {
    #[serde(default)]
    name: String,
}

impl FromStr for Simulation {
    type Err = Error;

    /// Reads YAML documents of the kinds `Nodes` and `PodStages`. Durations are numbers with a unit: `ms`, `s`, `m`
    /// or `h`. Documents of comments alone say nothing.
    fn from_str(text: &str) -> Result<Self, Error> {
        let mut simulation = Self::default();
        let documents =
            text.split("\n---").map(str::trim).filter(|document| says_something(document));
        for (index, document) in documents.enumerate() {
            let wrong = |why: String| Error::Manifest { number: index + 1, why };
            let parsed: Document =
                serde_saphyr::from_str(document).map_err(|error| wrong(error.to_string()))?;
            match parsed {
                Document::Nodes { metadata, mut spec, .. } => {
                    if !metadata.name.is_empty() {
                        spec.name = metadata.name;
                    }
                    simulation.nodes.push(spec);
                }
                Document::PodStages { spec, .. } => {
                    spec.check().map_err(wrong)?;
                    simulation.pods.push(spec);
                }
            }
        }
        simulation.check()?;
        Ok(simulation)
    }
}

pub(crate) fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    parse(&text)
        .ok_or_else(|| D::Error::custom(format!("{text:?} is no duration, as 500ms or 2s are")))
}

pub(crate) fn write_duration<S: Serializer>(
    duration: &Duration,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("{}ms", duration.as_millis()))
}

/// Whether a document has more than comments, and the line that begins it.
fn says_something(document: &str) -> bool {
    let mut lines = document.lines().map(str::trim);
    lines.any(|line| !(line.is_empty() || line.starts_with('#') || line == "---"))
}

impl PodStages {
    fn check(&self) -> Result<(), String> {
        if !(0.0..=1.0).contains(&self.failure_rate) {
            return Err(format!("failureRate: {} is not between 0 and 1", self.failure_rate));
        }
        self.usage.check()
    }
}

impl Usage {
    fn check(&self) -> Result<(), String> {
        let wrong = |text: &&String| !text.is_empty() && Quantity::parse(text).is_err();
        match [&self.cpu, &self.memory].into_iter().find(wrong) {
            Some(text) => Err(format!("{text:?} is no quantity")),
            None => Ok(()),
        }
    }
}

fn parse(text: &str) -> Option<Duration> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
    let (number, unit) = text.split_at(end);
    let seconds = match unit {
        "ms" => 0.001,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return None,
    };
    Duration::try_from_secs_f64(number.parse::<f64>().ok()? * seconds).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn manifests_say_what_is_simulated() {
        let text = "
kind: Nodes
metadata: {name: a}
spec: {count: 3, readyDelay: 1.5s}
---
apiVersion: simulation.kubeplane.dev/v1alpha1
kind: PodStages
metadata: {name: jobs}
spec:
  selector: {matchLabels: {app: x}, namespaces: [work]}
  runFor: 250ms
  logs: {lines: [one, two], every: 2s}
  usage: {cpu: 250m}
  failureRate: 0.5
";
        let simulation: Simulation = text.parse().unwrap();
        assert_eq!((simulation.nodes[0].name.as_str(), simulation.node_count()), ("a", 3));
        assert!(simulation.has_node("a-1") && simulation.has_node("a-3"));
        assert!(["a-0", "a-4", "b-1", "a", "a-x"].iter().all(|name| !simulation.has_node(name)));
        assert_eq!(simulation.nodes[0].ready_delay, Duration::from_millis(1500));
        assert_eq!(simulation.nodes[0].capacity["pods"], "110");
        let labels = BTreeMap::from([("app".to_owned(), "x".to_owned())]);
        let found = simulation.stages_of("work", Some(&labels)).unwrap();
        assert_eq!((found.run_for, found.failure_rate), (Duration::from_millis(250), 0.5));
        assert_eq!((found.logs.lines.len(), found.logs.every), (2, Duration::from_secs(2)));
        assert_eq!(found.usage.cpu, "250m");
        assert!(simulation.stages_of("home", Some(&labels)).is_none());
        assert!(simulation.stages_of("work", None).is_none());
    }

    #[test]
    fn comments_are_no_manifests() {
        let text = "# Two nodes.\n\n---\n# The only group.\nkind: Nodes\nspec: {count: 2}\n---\n# kind: PodStages\n";
        let simulation: Simulation = text.parse().unwrap();
        assert_eq!((simulation.node_count(), simulation.pods.len()), (2, 0));
        assert_eq!("---\n# Nothing yet.".parse::<Simulation>().unwrap(), Simulation::default());
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        let error = |text: &str| text.parse::<Simulation>().unwrap_err().to_string();
        assert!(error("kind: Nodes\nspec: {cuont: 3}").contains("cuont"));
        assert!(error("kind: Nodes\n---\nkind: Pods").starts_with("manifest 2: "));
        assert!(error("kind: PodStages\nspec: {runFor: '3'}").contains("no duration"));
        assert!(error("kind: PodStages\nspec: {usage: {cpu: much}}").contains("no quantity"));
        for rate in ["1.5", "-0.1"] {
            let text = format!("kind: PodStages\nspec: {{failureRate: {rate}}}");
            assert!(error(&text).contains("is not between 0 and 1"), "{rate}");
        }
        assert!(error("kind: Nodes\n---\nkind: Nodes").contains("two groups"));
    }
}
