//! The facts that k8s-openapi's schemas lack.

use anyhow::{Context, Result};
use std::{collections::BTreeMap, fs, path::Path};

/// One line of fields.csv.
#[derive(Debug, Default, Clone)]
pub(super) struct Field {
    /// As in `[](v1.KeyUsage=string)`: named types that are no structs show what they are.
    pub(super) go_type: String,
    /// `optional`, `omit`, `always` or `null`.
    pub(super) presence: String,
    pub(super) tag: u32,
    /// Go's embedded structs on the way from the definition's own, dotted.
    pub(super) embedded: String,
    /// JSON.
    pub(super) default: String,
}

/// One line of lists.csv.
#[derive(Debug, Default, Clone)]
pub(super) struct List {
    pub(super) patch_strategy: String,
    pub(super) merge_key: String,
    pub(super) list_type: String,
    pub(super) map_keys: Vec<String>,
    /// `atomic`, `granular` or empty.
    pub(super) map_type: String,
}

#[derive(Debug)]
pub(super) struct Facts {
    fields: BTreeMap<(String, String), Field>,
    lists: BTreeMap<(String, String), List>,
}

impl Facts {
    pub(super) fn read(folder: &Path) -> Result<Self> {
        let lines = |name: &str, columns: usize| -> Result<Vec<Vec<String>>> {
            let path = folder.join(name);
            let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
            let cells = |line: &str| line.splitn(columns, ',').map(str::to_owned).collect();
            Ok(text.lines().skip(1).map(cells).collect())
        };
        let mut fields = BTreeMap::new();
        for line in lines("fields.csv", 7)? {
            let [definition, field, go_type, presence, tag, embedded, default]: [String; 7] =
                line.try_into().map_err(|line| anyhow::anyhow!("fields.csv: {line:?}"))?;
            fields.insert(
                (definition, field),
                Field { go_type, presence, tag: tag.parse()?, embedded, default },
            );
        }
        let mut lists = BTreeMap::new();
        for line in lines("lists.csv", 7)? {
            let [definition, field, patch_strategy, merge_key, list_type, keys, map_type]: [String;
                7] = line.try_into().map_err(|line| anyhow::anyhow!("lists.csv: {line:?}"))?;
            let map_keys = keys.split_whitespace().map(str::to_owned).collect();
            lists.insert(
                (definition, field),
                List { patch_strategy, merge_key, list_type, map_keys, map_type },
            );
        }
        Ok(Self { fields, lists })
    }

    /// Every field of a struct that Go embeds in a definition: definition, field, path.
    pub(super) fn embedded(&self) -> impl Iterator<Item = (&str, &str, &str)> {
        let fields = self.fields.iter();
        let embedded =
            fields.map(|((definition, field), fact)| (&**definition, &**field, &*fact.embedded));
        embedded.filter(|(_, _, path)| !path.is_empty())
    }

    pub(super) fn field(&self, definition: &str, field: &str) -> Option<&Field> {
        self.fields.get(&(definition.to_owned(), field.to_owned()))
    }

    /// What is known of a field's list or map; of the definition itself for the empty field.
    pub(super) fn list(&self, definition: &str, field: &str) -> List {
        self.lists.get(&(definition.to_owned(), field.to_owned())).cloned().unwrap_or_default()
    }
}
