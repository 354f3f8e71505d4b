//! Why a pod goes where it goes: what every plugin says of every node.

use serde::Serialize;
use std::{collections::BTreeMap, fmt};

/// What a profile makes of a pod, node by node. As JSON it has the field names of the members, in camel case.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Trace {
    /// `namespace/name`.
    pub pod: String,
    /// The profile.
    pub scheduler_name: String,
    /// What PreFilter plugins said, but for those that just go on.
    pub pre_filter: Vec<PluginRemark>,
    /// Every node, in the order of the snapshot.
    pub nodes: Vec<NodeTrace>,
    /// What each extender says that has a say in where pods go; none where none was asked.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub extenders: Vec<ExtenderTrace>,
    /// The nodes with the best score; more than one when chance decides.
    pub best: Vec<String>,
    /// What the pod's condition would say if it fits nowhere (but for what PostFilter adds).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// What one plugin says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PluginRemark {
    /// The plugin.
    pub plugin: &'static str,
    /// Its words.
    pub says: String,
}

/// What the plugins say of one node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeTrace {
    /// The node.
    pub node: String,
    /// Whether the pod fits there.
    pub fits: bool,
    /// Who is against it, and why; all of them, where scheduling itself stops at the first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub refusals: Vec<PluginRemark>,
    /// The scores by plugin.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub scores: BTreeMap<&'static str, PluginScore>,
    /// Their weighted sum, and that of the extenders' scores; `None` where the pod does not fit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total: Option<i64>,
}

/// How a plugin scores a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct PluginScore {
    /// As the plugin gave it.
    pub raw: i64,
    /// Brought into range, from 0 to 100.
    pub score: i64,
    /// How often it counts.
    pub weight: i64,
}

/// What an extender says of the nodes that plugins and the extenders before it left.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ExtenderTrace {
    /// Its address.
    pub extender: String,
    /// Whether it has a say for such a pod.
    pub asked: bool,
    /// Why it gave no answer, if it did not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// How much a point of its scores adds to the total of a node.
    pub weight: i64,
    /// The nodes it was asked about.
    pub nodes: Vec<ExtenderOpinion>,
}

/// What an extender says of one node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct ExtenderOpinion {
    /// The node.
    pub node: String,
    /// Whether it leaves the node.
    pub fits: bool,
    /// Why not, if it says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub says: Option<String>,
    /// What it thinks of the node, from 0 to 10; `None` where it does not score, or the node is out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub score: Option<i64>,
}

/// As a table: one line for each node, the best first, and then one for what each extender says of each.
impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "pod {} ({})", self.pod, self.scheduler_name)?;
        for remark in &self.pre_filter {
            writeln!(f, "{}: {}", remark.plugin, remark.says)?;
        }
        let mut columns: Vec<_> =
            self.nodes.iter().flat_map(|node| node.scores.keys().copied()).collect();
        columns.sort_unstable();
        columns.dedup();
        let mut rows = vec![self.header(&columns)];
        let mut nodes: Vec<_> = self.nodes.iter().collect();
        nodes.sort_by_key(|node| std::cmp::Reverse(node.total));
        rows.extend(nodes.into_iter().map(|node| node.row(&columns, &self.best)));
        write_columns(f, &rows)?;
        if !self.extenders.is_empty() {
            let mut rows =
                vec![["EXTENDER", "NODE", "FITS", "SCORE", "SAYS"].map(str::to_owned).to_vec()];
            rows.extend(self.extenders.iter().flat_map(ExtenderTrace::rows));
            write_columns(f, &rows)?;
        }
        match &self.message {
            Some(message) => writeln!(f, "{message}"),
            None => Ok(()),
        }
    }
}

impl Trace {
    fn header(&self, columns: &[&'static str]) -> Vec<String> {
        let weight = |plugin: &str| {
            let own = self.nodes.iter().find_map(|node| node.scores.get(plugin));
            own.map_or(1, |own| own.weight)
        };
        let named = |plugin: &&'static str| match weight(plugin) {
            1 => (*plugin).to_owned(),
            weight => format!("{plugin} x{weight}"),
        };
        let mut header = vec!["NODE".to_owned(), "TOTAL".to_owned()];
        header.extend(columns.iter().map(named));
        header
    }
}

impl ExtenderTrace {
    fn rows(&self) -> Vec<Vec<String>> {
        let alone = |says: &str| vec![self.extender.clone(), "-".to_owned(), says.to_owned()];
        if !self.asked {
            return vec![alone("not asked: it manages nothing that the pod wants")];
        }
        let mut rows: Vec<_> = self.nodes.iter().map(|own| self.row(own)).collect();
        rows.extend(self.error.as_deref().map(alone));
        if rows.is_empty() {
            rows.push(alone("not asked: no node was left"));
        }
        rows
    }

    fn row(&self, own: &ExtenderOpinion) -> Vec<String> {
        let fits = if own.fits { "yes" } else { "no" };
        let score = own.score.map(|score| format!("{score} x{}", self.weight)).unwrap_or_default();
        let says = own.says.clone().unwrap_or_default();
        let mut row = vec![self.extender.clone(), own.node.clone(), fits.to_owned(), score, says];
        while row.last().is_some_and(String::is_empty) {
            row.pop();
        }
        row
    }
}

impl NodeTrace {
    fn row(&self, columns: &[&'static str], best: &[String]) -> Vec<String> {
        let mark = if best.contains(&self.node) { "*" } else { "" };
        let mut row = vec![format!("{}{mark}", self.node)];
        let Some(total) = self.total else {
            let said = self.refusals.iter().map(|own| format!("{}: {}", own.plugin, own.says));
            row.push("-".into());
            row.push(said.collect::<Vec<_>>().join("; "));
            return row;
        };
        row.push(total.to_string());
        row.extend(columns.iter().map(|plugin| match self.scores.get(plugin) {
            Some(own) if own.raw == own.score => own.score.to_string(),
            Some(own) => format!("{} ({})", own.score, own.raw),
            None => String::new(),
        }));
        row
    }
}

/// Aligned, but for the last cell of a line that is shorter than the header: it says why, at any length.
fn write_columns(f: &mut fmt::Formatter<'_>, rows: &[Vec<String>]) -> fmt::Result {
    let count = rows.first().map_or(0, Vec::len);
    let width = |column: usize| {
        let cells = rows.iter().filter(|row| row.len() == count || column + 1 < row.len());
        cells.filter_map(|row| row.get(column)).map(String::len).max().unwrap_or_default()
    };
    let widths: Vec<_> = (0..count).map(width).collect();
    for row in rows {
        for (index, cell) in row.iter().enumerate() {
            if index + 1 == row.len() {
                writeln!(f, "{cell}")?;
            } else {
                write!(f, "{cell:<width$}   ", width = widths[index])?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_has_the_best_node_first_and_says_why_others_are_out() {
        let node = |name: &str, score: Option<i64>| NodeTrace {
            node: name.into(),
            fits: score.is_some(),
            refusals: match score {
                Some(_) => Vec::new(),
                None => vec![PluginRemark { plugin: "NodeName", says: "no".into() }],
            },
            scores: score
                .map(|raw| ("Spread", PluginScore { raw, score: 100, weight: 2 }))
                .into_iter()
                .collect(),
            total: score.map(|_| 200),
        };
        let trace = Trace {
            pod: "d/p".into(),
            scheduler_name: "default-scheduler".into(),
            nodes: vec![node("out", None), node("a", Some(7))],
            best: vec!["a".into()],
            ..Trace::default()
        };
        let table = "pod d/p (default-scheduler)\n\
                     NODE   TOTAL   Spread x2\n\
                     a*     200     100 (7)\n\
                     out    -       NodeName: no\n";
        assert_eq!(trace.to_string(), table);
        let json = serde_json::to_value(&trace).unwrap();
        assert_eq!(json["nodes"][1]["scores"]["Spread"]["score"], 100);
        assert!(json["nodes"][0].get("total").is_none());
        assert!(json.get("extenders").is_none(), "none was asked");
    }

    #[test]
    fn each_extender_has_its_rows() {
        let opinion = |node: &str, says: Option<&str>, score| ExtenderOpinion {
            node: node.into(),
            fits: says.is_none(),
            says: says.map(str::to_owned),
            score,
        };
        let trace = Trace {
            pod: "d/p".into(),
            scheduler_name: "s".into(),
            extenders: vec![
                ExtenderTrace {
                    extender: "http://one".into(),
                    asked: true,
                    weight: 50,
                    nodes: vec![opinion("a", None, Some(7)), opinion("bb", Some("closed"), None)],
                    ..ExtenderTrace::default()
                },
                ExtenderTrace { extender: "http://other".into(), ..ExtenderTrace::default() },
                ExtenderTrace {
                    extender: "http://third".into(),
                    asked: true,
                    error: Some("no answer".into()),
                    ..ExtenderTrace::default()
                },
            ],
            ..Trace::default()
        };
        let table = "pod d/p (s)\n\
                     NODE   TOTAL\n\
                     EXTENDER       NODE   FITS   SCORE   SAYS\n\
                     http://one     a      yes    7 x50\n\
                     http://one     bb     no             closed\n\
                     http://other   -      not asked: it manages nothing that the pod wants\n\
                     http://third   -      no answer\n";
        assert_eq!(trace.to_string(), table);
        let json = serde_json::to_value(&trace).unwrap();
        assert_eq!(json["extenders"][0]["nodes"][0]["score"], 7);
        assert_eq!(json["extenders"][0]["nodes"][1]["says"], "closed");
        assert_eq!(json["extenders"][1]["asked"], false);
    }
}
