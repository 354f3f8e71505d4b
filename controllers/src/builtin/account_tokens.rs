//! Tokens of service accounts that are kept in Secrets, as they were before tokens ended by themselves.

mod unused;

pub(super) use unused::{UnusedTokens, secret_of_source, secret_of_variable, secrets_of_volume};

use super::patient;
use crate::{Action, Context, Controller, Error, Retry, Sources, error::unless_gone};
use async_trait::async_trait;
use k8s_openapi::{
    ByteString,
    api::core::v1::{Secret, ServiceAccount},
};
use kube::{
    Api,
    api::{DeleteParams, PostParams, Preconditions},
};
use kubeplane_client::Change;
use std::{fmt, sync::Arc};

const TYPE: &str = "kubernetes.io/service-account-token";
const ACCOUNT: &str = "kubernetes.io/service-account.name";
const ACCOUNT_UID: &str = "kubernetes.io/service-account.uid";

/// Signs tokens that are kept in Secrets and live as long as those.
pub trait TokenSigner: fmt::Debug + Send + Sync + 'static {
    /// A token of `account`, good while the Secret of this name is there.
    ///
    /// # Errors
    /// Why it cannot be signed.
    fn sign(&self, account: &ServiceAccount, secret: &str) -> Result<String, String>;
}

/// Fills Secrets of service accounts, and deletes them with their accounts.
pub(super) struct AccountTokens {
    signer: Arc<dyn TokenSigner>,
    root_ca: String,
}

impl AccountTokens {
    pub(super) fn new(signer: Arc<dyn TokenSigner>, root_ca: String) -> Self {
        Self { signer, root_ca }
    }

    /// Whether nothing is missing in the Secret.
    fn is_filled(&self, secret: &Secret) -> bool {
        let data = |key: &str| {
            secret.data.as_ref().and_then(|data| data.get(key)).map(|value| value.0.as_slice())
        };
        let given = |key| data(key).is_some_and(|value| !value.is_empty());
        let trusted = self.root_ca.is_empty() || data("ca.crt") == Some(self.root_ca.as_bytes());
        trusted && given("namespace") && given("token")
    }

    async fn fill(
        &self,
        context: &Context,
        account: &ServiceAccount,
        cached: &Secret,
    ) -> Result<(), Error> {
        if self.is_filled(cached) {
            return Ok(());
        }
        let namespace = cached.metadata.namespace.clone().unwrap_or_default();
        let name = cached.metadata.name.clone().unwrap_or_default();
        let api: Api<Secret> = Api::namespaced(context.client(), &namespace);
        let Some(mut secret) = api.get_opt(&name).await? else { return Ok(()) };
        // Its newer state comes, and then it is looked at again.
        if secret.metadata.resource_version != cached.metadata.resource_version {
            return Ok(());
        }
        let data = secret.data.get_or_insert_default();
        if !self.root_ca.is_empty() {
            data.insert("ca.crt".to_owned(), ByteString(self.root_ca.clone().into_bytes()));
        }
        let empty = |value: &ByteString| value.0.is_empty();
        if data.get("namespace").is_none_or(empty) {
            data.insert("namespace".to_owned(), ByteString(namespace.into_bytes()));
        }
        if data.get("token").is_none_or(empty) {
            let token = self.signer.sign(account, &name).map_err(Error::Invalid)?;
            data.insert("token".to_owned(), ByteString(token.into_bytes()));
        }
        let annotations = secret.metadata.annotations.get_or_insert_default();
        let about = account.metadata.clone();
        annotations.insert(ACCOUNT.to_owned(), about.name.unwrap_or_default());
        annotations.insert(ACCOUNT_UID.to_owned(), about.uid.unwrap_or_default());
        unless_changed(unless_gone(api.replace(&name, &PostParams::default(), &secret).await))
    }
}

/// `Ok` when somebody else wrote or replaced the object: that leads to a look of its own.
fn unless_changed(result: Result<(), Error>) -> Result<(), Error> {
    match result {
        Err(error) if error.is_conflict() => Ok(()),
        other => other,
    }
}

/// What is looked at: by name and uid, as it may be gone.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Work {
    Account(Id),
    Secret { secret: Id, account: String, account_uid: String },
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Id {
    namespace: String,
    name: String,
    uid: String,
}

impl Id {
    fn of<K: kube::Resource>(object: &K) -> Self {
        let meta = object.meta().clone();
        Self {
            namespace: meta.namespace.unwrap_or_default(),
            name: meta.name.unwrap_or_default(),
            uid: meta.uid.unwrap_or_default(),
        }
    }
}

fn is_token(secret: &Secret) -> bool {
    secret.type_.as_deref() == Some(TYPE)
}

fn annotation<'a>(secret: &'a Secret, key: &str) -> &'a str {
    let annotations = secret.metadata.annotations.as_ref();
    annotations.and_then(|annotations| annotations.get(key)).map_or("", String::as_str)
}

#[async_trait]
impl Controller for AccountTokens {
    type Request = Work;
    type Error = Error;

    fn name(&self) -> &'static str {
        "serviceaccount-token-controller"
    }

    /// The manager's own: who makes tokens for everybody cannot have a token made for itself.
    fn identity(&self) -> &'static str {
        ""
    }

    fn watches(&self, sources: &mut Sources<Work>) {
        sources.watch::<ServiceAccount>(|change| match change {
            Change::Deleted(account) => vec![Work::Account(Id::of(&**account))],
            _ => Vec::new(),
        });
        sources.watch::<Secret>(|change| {
            let secret = change.object();
            let account = annotation(secret, ACCOUNT);
            if !is_token(secret) || account.is_empty() {
                return Vec::new();
            }
            vec![Work::Secret {
                secret: Id::of(&**secret),
                account: account.to_owned(),
                account_uid: annotation(secret, ACCOUNT_UID).to_owned(),
            }]
        });
    }

    async fn reconcile(&self, work: &Work, context: &Context) -> Result<Action, Error> {
        let informers = context.informers();
        match work {
            Work::Account(id) => {
                if account(context, &id.namespace, &id.name, &id.uid).is_none() {
                    delete_tokens(context, id).await?;
                }
            }
            Work::Secret { secret, account: name, account_uid } => {
                let cached = informers.of::<Secret>().get(&secret.namespace, &secret.name);
                let same = |cached: &Arc<Secret>| cached.metadata.uid.as_ref() == Some(&secret.uid);
                let present = account(context, &secret.namespace, name, account_uid);
                match (cached.filter(same), present) {
                    // Also where the account is not known: it may have been made a moment ago.
                    (None, _) => forget(context, secret, name, account_uid).await?,
                    (Some(cached), Some(account)) => self.fill(context, &account, &cached).await?,
                    (Some(cached), None) => {
                        // It may have been made a moment ago.
                        let api: Api<ServiceAccount> =
                            Api::namespaced(context.client(), &secret.namespace);
                        let live = api.get_opt(name).await?;
                        match live.filter(|live| is(live, account_uid)) {
                            Some(live) => self.fill(context, &live, &cached).await?,
                            None => delete(context, secret).await?,
                        }
                    }
                }
            }
        }
        Ok(Action::Done)
    }

    fn on_error(&self, _: &Work, _: &Error, failures: u32) -> Retry {
        patient(failures)
    }
}

/// Whether the account has this uid, where one is known.
fn is(account: &ServiceAccount, uid: &str) -> bool {
    uid.is_empty() || account.metadata.uid.as_deref() == Some(uid)
}

fn account(
    context: &Context,
    namespace: &str,
    name: &str,
    uid: &str,
) -> Option<Arc<ServiceAccount>> {
    let found = context.informers().of::<ServiceAccount>().get(namespace, name);
    found.filter(|account| is(account, uid))
}

async fn delete_tokens(context: &Context, account: &Id) -> Result<(), Error> {
    for secret in context.informers().of::<Secret>().list_in(&account.namespace) {
        let uid = annotation(&secret, ACCOUNT_UID);
        let its =
            annotation(&secret, ACCOUNT) == account.name && (uid.is_empty() || uid == account.uid);
        if is_token(&secret) && its {
            delete(context, &Id::of(&*secret)).await?;
        }
    }
    Ok(())
}

async fn delete(context: &Context, secret: &Id) -> Result<(), Error> {
    let preconditions = Preconditions { uid: Some(secret.uid.clone()), resource_version: None };
    let params = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
    let api: Api<Secret> = Api::namespaced(context.client(), &secret.namespace);
    unless_changed(unless_gone(api.delete(&secret.name, &params).await))
}

/// Takes a Secret that is gone out of its account's list.
async fn forget(context: &Context, secret: &Id, name: &str, uid: &str) -> Result<(), Error> {
    let api: Api<ServiceAccount> = Api::namespaced(context.client(), &secret.namespace);
    let Some(mut account) = api.get_opt(name).await?.filter(|account| is(account, uid)) else {
        return Ok(());
    };
    let Some(listed) = account.secrets.as_mut() else { return Ok(()) };
    let before = listed.len();
    listed.retain(|entry| entry.name.as_ref() != Some(&secret.name));
    if listed.len() == before {
        return Ok(());
    }
    unless_gone(api.replace(name, &PostParams::default(), &account).await)
}
