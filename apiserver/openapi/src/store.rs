//! The documents made so far, and when they are made again.

use crate::{
    beside,
    custom::{self, Custom},
    document::Document,
    gnostic, paths, raised, schemas, swagger,
};
use bytes::Bytes;
use kubeplane_apiserver::{Api, Delegated, Described, KUBERNETES_VERSION};
use kubeplane_core::{
    Definition, GroupVersion,
    schema::SchemaRef,
    status::{ApiError, ApiResult},
};
use serde_json::{Map, Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};
use tokio::task::spawn_blocking;

/// What the documents depend on: the registry's generation and the newest CustomResourceDefinition.
type State = (u64, Option<u64>);

/// What one document depends on.
type Inputs = Vec<(Arc<Definition>, Custom)>;

#[derive(Debug)]
struct Made {
    inputs: Inputs,
    document: Document,
}

/// The documents, as of a state.
#[derive(Debug, Default)]
pub(crate) struct Documents {
    state: Option<State>,
    versions: BTreeMap<GroupVersion, Made>,
    /// The groups of built-in kinds, and the documents that lead to them, by path.
    groups: BTreeSet<String>,
    beside: BTreeMap<String, Document>,
    /// What others serve.
    delegated: BTreeMap<GroupVersion, Delegated>,
    /// Of those who have OpenAPI v2 only: theirs, and what was made of it.
    raised: BTreeMap<GroupVersion, (Bytes, Document)>,
    index: Option<Document>,
    swagger: Option<Document>,
    protobuf: Option<Document>,
}

impl Documents {
    /// The index of all documents.
    pub(crate) async fn index(&mut self, api: &Api) -> ApiResult<Document> {
        self.refresh(api).await?;
        if let Some(index) = &self.index {
            return Ok(index.clone());
        }
        let entry = |(version, made): (&GroupVersion, &Made)| {
            let path = path(version);
            let url = format!("/openapi/v3/{path}?hash={}", made.document.hash());
            (path, json!({"serverRelativeURL": url}))
        };
        let mut listed: Map<_, _> = self.versions.iter().map(entry).collect();
        for (path, document) in &self.beside {
            let url = format!("/openapi/v3/{path}?hash={}", document.hash());
            listed.insert(path.clone(), json!({"serverRelativeURL": url}));
        }
        for (version, other) in &self.delegated {
            let path = path(version);
            let url = match (&other.openapi, self.raised.get(version)) {
                (Described::At(url), _) => url.clone(),
                (Described::Swagger(_), Some((_, document))) => {
                    format!("/openapi/v3/{path}?hash={}", document.hash())
                }
                _ => {
                    listed.remove(&path);
                    continue;
                }
            };
            listed.insert(path, json!({"serverRelativeURL": url}));
        }
        let index = Document::json(&json!({"paths": listed})).map_err(ApiError::internal)?;
        Ok(self.index.insert(index).clone())
    }

    /// The document of a group version, by its path below `/openapi/v3/`.
    pub(crate) async fn version(&mut self, api: &Api, wanted: &str) -> ApiResult<Option<Document>> {
        self.refresh(api).await?;
        if let Some(beside) = self.beside.get(wanted) {
            return Ok(Some(beside.clone()));
        }
        let others = self.delegated.keys().find(|version| path(version) == wanted);
        if let Some(version) = others {
            return Ok(self.raised.get(version).map(|(_, document)| document.clone()));
        }
        let mut all = self.versions.iter();
        Ok(all.find(|(version, _)| path(version) == wanted).map(|(_, made)| made.document.clone()))
    }

    /// Who else has a document of its own, by its path below `/openapi/v3/`.
    pub(crate) async fn elsewhere(
        &mut self,
        api: &Api,
        wanted: &str,
    ) -> ApiResult<Option<Delegated>> {
        self.refresh(api).await?;
        let all = self.delegated.iter();
        let mut all = all.filter(|(_, other)| matches!(other.openapi, Described::At(_)));
        Ok(all.find(|(version, _)| path(version) == wanted).map(|(_, other)| other.clone()))
    }

    /// Everything in one Swagger document.
    pub(crate) async fn swagger(&mut self, api: &Api) -> ApiResult<Document> {
        self.refresh(api).await?;
        if let Some(swagger) = &self.swagger {
            return Ok(swagger.clone());
        }
        let own =
            self.versions.iter().filter(|(version, _)| !self.delegated.contains_key(*version));
        let own = own.map(|(_, made)| &made.document).chain(self.beside.values());
        let parts: Vec<_> = own.cloned().collect();
        let others: Vec<_> = self.delegated.values().map(|other| other.swagger.clone()).collect();
        let made = spawn_blocking(move || {
            let parts = parts.iter().map(|part| part.parsed().unwrap_or_default());
            let mut joined = swagger::joined(parts, KUBERNETES_VERSION);
            others.iter().for_each(|other| swagger::add(&mut joined, other));
            Document::json(&joined)
        });
        let swagger = made.await.map_err(ApiError::internal)?.map_err(ApiError::internal)?;
        Ok(self.swagger.insert(swagger).clone())
    }

    /// The Swagger document in the protobuf form of gnostic.
    pub(crate) async fn protobuf(&mut self, api: &Api) -> ApiResult<Document> {
        let swagger = self.swagger(api).await?;
        if let Some(protobuf) = &self.protobuf {
            return Ok(protobuf.clone());
        }
        let made = spawn_blocking(move || Document::new(&gnostic::document(&swagger.parsed()?)));
        let protobuf = made.await.map_err(ApiError::internal)?.map_err(ApiError::internal)?;
        Ok(self.protobuf.insert(protobuf).clone())
    }

    /// Makes again what a change of the registry or of a CustomResourceDefinition's schema made stale.
    async fn refresh(&mut self, api: &Api) -> ApiResult<()> {
        let generation = *api.registry().changes().borrow();
        let state = (generation, api.reader().revision(&custom::resource()));
        if self.state == Some(state) {
            return Ok(());
        }
        let mut wanted: BTreeMap<GroupVersion, Inputs> = BTreeMap::new();
        let mut groups = BTreeSet::new();
        for resource in api.registry().all() {
            let definition = resource.definition().clone();
            if matches!(definition.schema, SchemaRef::Static(_)) {
                groups.insert(definition.kind.group.to_string());
            }
            let custom = Custom::of(api, &definition).await;
            wanted.entry(definition.group_version()).or_default().push((definition, custom));
        }
        let before = self.versions.len();
        self.versions.retain(|version, _| wanted.contains_key(version));
        let delegated = api.registry().delegated();
        let mut changed =
            self.versions.len() != before || !same_others(&self.delegated, &delegated);
        self.delegated = delegated;
        self.raise().await?;
        wanted.retain(|version, inputs| {
            !self.versions.get(version).is_some_and(|made| same(&made.inputs, inputs))
        });
        changed |= !wanted.is_empty();
        if self.groups != groups {
            changed = true;
            self.beside = self::beside(api, &groups)?;
            self.groups = groups;
        }
        let listed = api.features().is_on("OpenAPIEnums");
        let made = spawn_blocking(move || {
            let made = wanted.into_iter().map(|(version, inputs)| make(version, inputs, listed));
            made.collect::<Result<Vec<_>, _>>()
        });
        let made = made.await.map_err(ApiError::internal)?.map_err(ApiError::internal)?;
        self.versions.extend(made);
        if changed {
            (self.index, self.swagger, self.protobuf) = (None, None, None);
        }
        self.state = Some(state);
        Ok(())
    }

    /// Makes the documents of those who have OpenAPI v2 only, where theirs is another now.
    async fn raise(&mut self) -> ApiResult<()> {
        let theirs = self.delegated.iter().filter_map(|(version, other)| match &other.openapi {
            Described::Swagger(theirs) => Some((version.clone(), theirs.clone())),
            _ => None,
        });
        let mut theirs: BTreeMap<_, _> = theirs.collect();
        self.raised.retain(|version, (old, _)| theirs.get(version) == Some(&*old));
        theirs.retain(|version, _| !self.raised.contains_key(version));
        if !theirs.is_empty() {
            let made = spawn_blocking(move || raised(theirs.into_iter().collect()));
            self.raised.extend(made.await.map_err(ApiError::internal)?);
        }
        Ok(())
    }
}

/// What others say in OpenAPI v2, in the words of v3; what cannot be read makes no document.
fn raised(others: Vec<(GroupVersion, Bytes)>) -> Vec<(GroupVersion, (Bytes, Document))> {
    let made = others.into_iter().filter_map(|(version, theirs)| {
        let document = raised::document(serde_json::from_slice(&theirs).ok()?);
        Some((version, (theirs, Document::json(&document).ok()?)))
    });
    made.collect()
}

/// The documents that lead to those of the group versions.
fn beside(api: &Api, groups: &BTreeSet<String>) -> ApiResult<BTreeMap<String, Document>> {
    let further = beside::of_routes(|path| api.serves(path));
    let made = beside::of_groups(groups).into_iter().chain(further).map(|(path, item)| {
        let document = Document::json(&whole(item.paths, item.schemas));
        document.map(|document| (path, document))
    });
    made.collect::<Result<_, _>>().map_err(ApiError::internal)
}

fn same_others(
    left: &BTreeMap<GroupVersion, Delegated>,
    right: &BTreeMap<GroupVersion, Delegated>,
) -> bool {
    left.len() == right.len()
        && left.iter().zip(right).all(|((left, old), (right, new))| {
            left == right && old.openapi == new.openapi && Arc::ptr_eq(&old.swagger, &new.swagger)
        })
}

fn same(left: &Inputs, right: &Inputs) -> bool {
    left.len() == right.len()
        && left.iter().zip(right).all(|((left, old), (right, new))| {
            Arc::ptr_eq(left, right) && old.state() == new.state()
        })
}

fn make(
    version: GroupVersion,
    inputs: Inputs,
    listed: bool,
) -> std::io::Result<(GroupVersion, Made)> {
    let document = Document::json(&describe(&version, &inputs, listed))?;
    Ok((version, Made { inputs, document }))
}

fn describe(version: &GroupVersion, inputs: &Inputs, listed: bool) -> Value {
    let definitions: Vec<_> = inputs.iter().map(|(definition, _)| definition.clone()).collect();
    whole(paths::of_version(version, &definitions), schemas::of_version(inputs, listed))
}

fn whole(paths: Map<String, Value>, schemas: Map<String, Value>) -> Value {
    json!({
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes", "version": KUBERNETES_VERSION},
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {"BearerToken": {
                "type": "apiKey", "name": "authorization", "in": "header",
                "description": "Bearer Token authentication",
            }},
        },
    })
}

fn path(version: &GroupVersion) -> String {
    if version.group.is_empty() {
        format!("api/{}", version.version)
    } else {
        format!("apis/{}/{}", version.group, version.version)
    }
}
