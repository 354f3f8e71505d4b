//! The component that makes definitions work: names, conditions, installed kinds, and the end of them.

mod cleanup;
mod served;

use crate::{approval, conditions, conversion::Conversions, kind, metrics::Measures, names};
use async_trait::async_trait;
use futures::StreamExt;
use kubeplane_apiserver::{Api, StartCheck};
use kubeplane_core::{
    Object,
    component::{Component, ComponentError, Lifecycle},
    status::ApiResult,
};
use kubeplane_store_trait::{self as store, Entry, Event, Key, ListOptions, Revision};
use kubeplane_telemetry::Metrics;
use serde_json::Value;
use served::Served;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};
use tokio::task::JoinSet;

/// The pause after a failure of the store.
const PAUSE: Duration = Duration::from_millis(200);

/// What the original has in `/readyz` for this.
const CHECKS: [&str; 2] =
    ["poststarthook/start-apiextensions-controllers", "poststarthook/crd-informer-synced"];

/// Serves what CustomResourceDefinitions define: gives them their names and conditions, installs their kinds in the
/// registry, and deletes their objects when they go.
#[derive(Debug)]
pub struct CustomResources {
    api: Api,
    measures: Arc<Measures>,
    checks: [StartCheck; 2],
}

impl CustomResources {
    /// Works on this server, which must serve [`definition`](crate::definition) and is not ready before this is.
    #[must_use]
    pub fn new(api: Api) -> Self {
        let checks = CHECKS.map(|name| api.start_check(name));
        Self { api, measures: Arc::default(), checks }
    }

    /// Measures the calls of conversion webhooks there.
    #[must_use]
    pub fn with_metrics(self, metrics: &Metrics) -> Self {
        Self { measures: Arc::new(Measures::new(metrics)), ..self }
    }
}

#[async_trait]
impl Component for CustomResources {
    fn name(&self) -> &str {
        "custom-resources"
    }

    /// Ready when the kinds of all definitions that are there are served.
    async fn run(self: Box<Self>, lifecycle: Lifecycle) -> Result<(), ComponentError> {
        let mut worker = Worker {
            served: Served::new(
                self.api.registry().clone(),
                Conversions::new(&self.api, self.measures),
            ),
            known: BTreeMap::new(),
            cleanups: JoinSet::new(),
            cleaning: BTreeSet::new(),
            failed: BTreeSet::new(),
            checks: self.checks,
            api: self.api,
        };
        tokio::select! {
            biased;
            () = lifecycle.stopping() => Ok(()),
            () = worker.work(&lifecycle) => Ok(()),
        }
    }
}

struct Worker {
    api: Api,
    checks: [StartCheck; 2],
    /// All definitions, by name.
    known: BTreeMap<String, Object>,
    served: Served,
    /// Deletions of objects under way; each gives back the name of its definition.
    cleanups: JoinSet<String>,
    cleaning: BTreeSet<String>,
    /// What could not be brought to where it should be.
    failed: BTreeSet<String>,
}

impl Worker {
    async fn work(&mut self, lifecycle: &Lifecycle) {
        loop {
            match self.fill().await {
                Ok(through) => {
                    self.checks.iter().for_each(StartCheck::done);
                    lifecycle.ready();
                    self.follow(through).await;
                }
                Err(error) => {
                    tracing::warn!(%error, "definitions cannot be read");
                    self.api.clock().sleep(PAUSE).await;
                }
            }
        }
    }

    /// Reads all definitions and brings everything up to them.
    async fn fill(&mut self) -> Result<Revision, ComponentError> {
        let range = self.api.resource(&kind::resource())?.range("");
        let page = self.api.store().list(&range, ListOptions::default()).await?;
        self.known.clear();
        page.entries.into_iter().for_each(|entry| self.learn(entry));
        self.served.retain(|name| self.known.contains_key(name));
        let groups = self.known.values().map(group).collect();
        let all = self.known.keys().cloned().collect();
        self.settle(&groups, &all).await;
        Ok(page.revision)
    }

    /// Follows the changes until the definitions have to be read again.
    async fn follow(&mut self, mut through: Revision) {
        let Ok(resource) = self.api.resource(&kind::resource()) else { return };
        let clock = self.api.clock().clone();
        loop {
            let mut watcher = match self.api.store().watch(&resource.range(""), through).await {
                Ok(watcher) => watcher,
                Err(store::Error::Compacted { .. } | store::Error::Future { .. }) => return,
                Err(error) => {
                    tracing::warn!(%error, "definitions cannot be watched");
                    self.api.clock().sleep(PAUSE).await;
                    continue;
                }
            };
            loop {
                let batch = tokio::select! {
                    biased;
                    batch = watcher.next() => batch,
                    Some(done) = self.cleanups.join_next(), if !self.cleanups.is_empty() => {
                        if let Ok(name) = done {
                            self.cleaning.remove(&name);
                            // One of the same name may have come and be going already.
                            self.clean_up(&name);
                        }
                        continue;
                    }
                    () = clock.sleep(PAUSE), if !self.failed.is_empty() => {
                        let failed = std::mem::take(&mut self.failed);
                        self.settle(&BTreeSet::new(), &failed).await;
                        continue;
                    }
                };
                match batch {
                    Some(Ok(batch)) => {
                        through = batch.through.max(through);
                        self.apply(batch.events).await;
                    }
                    // What is missing may lie before the last bookmark.
                    Some(Err(store::Error::Compacted { .. } | store::Error::Lagged)) => return,
                    Some(Err(_)) | None => break,
                }
            }
            self.api.clock().sleep(PAUSE).await;
        }
    }

    fn learn(&mut self, entry: Entry) {
        let name = name_of(&entry.key);
        let newer = self.known.get(&name).is_some_and(|known| revision(known) >= entry.revision.0);
        if newer {
            return;
        }
        match Object::parse(&entry.value) {
            Ok(mut crd) => {
                crd.set(&["metadata", "resourceVersion"], entry.revision.to_string());
                self.known.insert(name, crd);
            }
            Err(error) => tracing::error!(%name, %error, "stored definition cannot be decoded"),
        }
    }

    async fn apply(&mut self, events: Vec<Event>) {
        let (mut groups, mut changed) = (BTreeSet::new(), BTreeSet::new());
        for event in events {
            match event {
                Event::Put { entry, .. } => {
                    let name = name_of(&entry.key);
                    self.learn(entry);
                    groups.extend(self.known.get(&name).map(group));
                    changed.insert(name);
                }
                Event::Delete { key, revision: at, .. } => {
                    let name = name_of(&key);
                    if self.known.get(&name).is_some_and(|known| revision(known) <= at.0) {
                        groups.extend(self.known.remove(&name).as_ref().map(group));
                        self.served.remove(&name);
                    }
                }
                _ => {}
            }
        }
        self.settle(&groups, &changed).await;
    }

    /// Brings these definitions to where they should be, and those of their groups that wait for names.
    async fn settle(&mut self, groups: &BTreeSet<String>, changed: &BTreeSet<String>) {
        let waits = |crd: &Object| !conditions::is_true(crd, "NamesAccepted");
        let mut names: Vec<_> = self
            .known
            .iter()
            .filter(|(name, crd)| {
                changed.contains(*name) || groups.contains(&group(crd)) && waits(crd)
            })
            .map(|(name, crd)| {
                (crd.text(&["metadata", "creationTimestamp"]).to_owned(), name.clone())
            })
            .collect();
        names.sort();
        for (_, name) in names {
            if let Err(error) = self.sync(&name).await {
                tracing::warn!(%name, %error, "definition cannot be updated");
                self.failed.insert(name);
            }
        }
    }

    async fn sync(&mut self, name: &str) -> ApiResult<()> {
        let Some(crd) = self.known.get(name) else { return Ok(()) };
        let unnamed = !same_names(crd) || conditions::status(crd, "NamesAccepted").is_none();
        if unnamed
            || conditions::is_true(crd, "NamesAccepted") && !conditions::is_true(crd, "Established")
            || approval::is_protected(crd) && approval::note(&mut crd.clone(), "")
            || kind::may_be_nonstructural(crd) && kind::note_structure(&mut crd.clone(), "")
        {
            self.accept(name).await?;
        }
        if let Some(crd) = self.known.get(name) {
            self.served.install(crd);
        }
        self.clean_up(name);
        Ok(())
    }

    /// Gives a definition its names; it is served before it is said to be.
    async fn accept(&mut self, name: &str) -> ApiResult<()> {
        let Some(crd) = self.known.get(name) else { return Ok(()) };
        let (now, own) = (stamp(&self.api), group(crd));
        let others = self.known.iter().filter(|(other, crd)| *other != name && group(crd) == own);
        let others: Vec<&Object> = others.map(|(_, crd)| crd).collect();
        let change = |crd: &mut Object| {
            names::accept(crd, others.iter().copied(), &now);
            approval::note(crd, &now);
            kind::note_structure(crd, &now);
            if conditions::is_true(crd, "NamesAccepted") && !conditions::is_true(crd, "Established")
            {
                names::establish(crd, !kind::has_invalid_authorities(crd), &now);
            }
        };
        let mut wanted = crd.clone();
        change(&mut wanted);
        self.served.install(&wanted);
        if wanted == *crd {
            return Ok(());
        }
        let resource = kind::resource();
        let written = self.api.write_status(&resource, "", name, |fresh| {
            change(fresh);
            Ok(())
        });
        let written = written.await?;
        self.known.insert(name.to_owned(), written);
        Ok(())
    }

    fn clean_up(&mut self, name: &str) {
        let Some(crd) = self.known.get(name) else { return };
        let due = crd.is_deleting() && crd.finalizers().contains(&kind::FINALIZER);
        if due && self.cleaning.insert(name.to_owned()) {
            let overlaps = self.served.overlaps(crd);
            self.cleanups.spawn(cleanup::run(self.api.clone(), crd.clone(), overlaps));
        }
    }
}

/// The name of the definition stored under a key.
fn name_of(key: &Key) -> String {
    let name = key.as_bytes().rsplit(|byte| *byte == b'/').next().unwrap_or_default();
    String::from_utf8_lossy(name).into_owned()
}

fn group(crd: &Object) -> String {
    crd.text(&["spec", "group"]).to_owned()
}

fn revision(crd: &Object) -> u64 {
    crd.resource_version().parse().unwrap_or_default()
}

/// Whether a definition has the names it wants.
fn same_names(crd: &Object) -> bool {
    let full = |value: Option<&Value>| {
        let map = value.and_then(Value::as_object).into_iter().flatten();
        let set = map.filter(|(_, value)| !value.is_null() && **value != Value::Array(Vec::new()));
        set.map(|(key, value)| (key.clone(), value.clone())).collect::<BTreeMap<_, _>>()
    };
    full(crd.at(&["spec", "names"])) == full(crd.at(&["status", "acceptedNames"]))
}

/// The time as conditions carry it: whole seconds.
fn stamp(api: &Api) -> String {
    let now = api.clock().now();
    jiff::Timestamp::from_second(now.as_second()).unwrap_or(now).to_string()
}
