//! The ways in which somebody may act as somebody else (KEP-5284).
//!
//! ```text
//!   associated-node   an account as the node its pod runs on      ┐ impersonate-on:MODE:VERB of the request itself,
//!   arbitrary-node    as any node                                 │ and impersonate:MODE of who is wanted
//!   serviceaccount    as an account                               │
//!   user-info         as anybody else                             ┘
//!   legacy            as anybody, whatever is done then             impersonate of who is wanted
//! ```

use crate::pipeline::forbidden;
use kubeplane_core::{
    ApiError,
    auth::{
        ANONYMOUS, Attributes, Authorizer, Decision, GROUP_AUTHENTICATED, GROUP_MASTERS,
        GROUP_UNAUTHENTICATED, UserInfo,
    },
    names,
    status::ApiResult,
};
use std::{collections::BTreeMap, sync::Arc};

const ACCOUNT: &str = "system:serviceaccount:";
const NODE: &str = "system:node:";
const NODES: &str = "system:nodes";
const AUTHENTICATION: &str = "authentication.k8s.io";
const NODE_NAME: &str = "authentication.kubernetes.io/node-name";
const NODE_KEYS: &str = "authentication.kubernetes.io/associated-node-keys";
/// With so many names, all names are asked for first.
const MANY: usize = 4;

/// One way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    AssociatedNode,
    ArbitraryNode,
    ServiceAccount,
    UserInfo,
    Legacy,
}

/// In the order in which they are tried.
pub(super) const ALL: [Mode; 5] =
    [Mode::AssociatedNode, Mode::ArbitraryNode, Mode::ServiceAccount, Mode::UserInfo, Mode::Legacy];

/// Something that must be allowed: all of it at once, or one by one.
struct Check {
    all: Option<Attributes>,
    each: Vec<Attributes>,
}

impl Mode {
    fn name(self) -> Option<&'static str> {
        match self {
            Self::AssociatedNode => Some("associated-node"),
            Self::ArbitraryNode => Some("arbitrary-node"),
            Self::ServiceAccount => Some("serviceaccount"),
            Self::UserInfo => Some("user-info"),
            Self::Legacy => None,
        }
    }

    /// The verb that allows it, where that says more than that it is allowed.
    pub(super) fn constraint(self) -> Option<String> {
        self.name().map(|name| format!("impersonate:{name}"))
    }

    /// Whether it is about such users at all.
    pub(super) fn is_for(self, wanted: &UserInfo, requester: &UserInfo) -> bool {
        let (node, account) = (node(&wanted.name), account(&wanted.name));
        let plain = wanted.uid.is_empty() && wanted.groups.is_empty() && wanted.extra.is_empty();
        match self {
            Self::AssociatedNode => {
                let own = requester.extra.get(NODE_NAME).map(Vec::as_slice);
                let is_own = |node: &str| matches!(own, Some([own]) if own == node);
                plain && self::account(&requester.name).is_some() && node.is_some_and(is_own)
            }
            Self::ArbitraryNode => plain && node.is_some(),
            Self::ServiceAccount => plain && account.is_some(),
            Self::UserInfo => node.is_none() && account.is_none(),
            Self::Legacy => true,
        }
    }

    /// Who the request is sent as, if its sender may.
    ///
    /// # Errors
    /// 403 for the first thing that is not allowed.
    pub(super) async fn user(
        self,
        authorizer: &dyn Authorizer,
        request: &Attributes,
        wanted: &UserInfo,
    ) -> ApiResult<UserInfo> {
        let requester = self.requester(&request.user);
        if let Some(name) = self.name() {
            let verb = format!("impersonate-on:{name}:{}", request.verb);
            let on = Attributes { user: requester.clone(), verb, ..request.clone() };
            allow(authorizer, &on).await?;
        }
        for check in self.checks(&requester, wanted)? {
            if let Some(all) = &check.all
                && allow(authorizer, all).await.is_ok()
            {
                continue;
            }
            for one in &check.each {
                allow(authorizer, one).await?;
            }
        }
        Ok(self.complete(wanted.clone()))
    }

    /// As whom the sender is judged. What is allowed for one node of an account is for all it runs on.
    fn requester(self, sender: &Arc<UserInfo>) -> Arc<UserInfo> {
        if self != Self::AssociatedNode {
            return sender.clone();
        }
        let keys = sender.extra.keys().cloned().collect();
        let extra = BTreeMap::from([(NODE_KEYS.to_owned(), keys)]);
        Arc::new(UserInfo { extra, ..UserInfo::clone(sender) })
    }

    /// What must be allowed of who is wanted.
    fn checks(self, requester: &Arc<UserInfo>, wanted: &UserInfo) -> ApiResult<Vec<Check>> {
        let own_group = if self == Self::Legacy { "" } else { AUTHENTICATION };
        let verb = self.constraint().unwrap_or_else(|| "impersonate".to_owned());
        let one = |group: &str, resource: &str, name: &str| Attributes {
            user: requester.clone(),
            verb: verb.clone(),
            group: group.to_owned(),
            version: "v1".to_owned(),
            resource: resource.to_owned(),
            name: name.to_owned(),
            ..Attributes::default()
        };
        let alone = |attributes| Check { all: None, each: vec![attributes] };
        let mut all = vec![alone(match (account(&wanted.name), node(&wanted.name)) {
            (Some((namespace, name)), _) => Attributes {
                namespace: namespace.to_owned(),
                ..one(own_group, "serviceaccounts", name)
            },
            (None, Some(_)) if self == Self::AssociatedNode => one(own_group, "nodes", "*"),
            (None, Some(name)) if self != Self::Legacy => one(own_group, "nodes", name),
            _ => one(own_group, "users", &wanted.name),
        })];
        if !wanted.uid.is_empty() {
            all.push(alone(one(AUTHENTICATION, "uids", &wanted.uid)));
        }
        let constrained = self != Self::Legacy;
        if constrained {
            check_groups(wanted, |name| one(own_group, "groups", name))?;
            check_extra(wanted)
                .map_err(|why| forbidden(&one(AUTHENTICATION, "userextras", ""), &why))?;
        }
        let many = constrained && wanted.groups.len() >= MANY;
        all.push(Check {
            all: many.then(|| one(own_group, "groups", "*")),
            each: wanted.groups.iter().map(|group| one(own_group, "groups", group)).collect(),
        });
        let extra = |key: &str, value: &str| Attributes {
            subresource: key.to_owned(),
            ..one(AUTHENTICATION, "userextras", value)
        };
        let values =
            wanted.extra.iter().flat_map(|(key, all)| all.iter().map(move |one| (key, one)));
        let each: Vec<_> = values.map(|(key, value)| extra(key, value)).collect();
        let many = constrained && (each.len() >= MANY || wanted.extra.len() >= MANY);
        all.push(Check { all: many.then(|| extra("*", "*")), each });
        Ok(all)
    }

    /// Adds the groups every user of the kind has.
    fn complete(self, mut user: UserInfo) -> UserInfo {
        if let Some((namespace, _)) = account(&user.name).filter(|_| user.groups.is_empty()) {
            let own = format!("system:serviceaccounts:{namespace}");
            user.groups = vec!["system:serviceaccounts".to_owned(), own];
        }
        if self != Self::Legacy && node(&user.name).is_some() {
            user.groups = vec![NODES.to_owned()];
        }
        let everyone = match user.name == ANONYMOUS || user.is_in(GROUP_UNAUTHENTICATED) {
            true => GROUP_UNAUTHENTICATED,
            false => GROUP_AUTHENTICATED,
        };
        if !user.is_in(everyone) {
            user.groups.push(everyone.to_owned());
        }
        user
    }
}

/// Groups that nobody is let into but by the older way.
fn check_groups(wanted: &UserInfo, of: impl Fn(&str) -> Attributes) -> ApiResult<()> {
    if wanted.is_in("") {
        return Err(forbidden(&of(""), "impersonating the empty string group is not allowed"));
    }
    if wanted.is_in(GROUP_MASTERS) {
        let why = "impersonating the system:masters group is not allowed";
        return Err(forbidden(&of(GROUP_MASTERS), why));
    }
    Ok(())
}

fn check_extra(wanted: &UserInfo) -> Result<(), String> {
    for (key, values) in &wanted.extra {
        let said = names::is_domain_prefixed_path(key);
        let why = if key.is_empty() {
            "the empty string key in extra"
        } else if let Some(said) = said.first() {
            return Err(format!(
                "impersonating an invalid key in extra is not allowed: extra.key: Invalid value: {key:?}: {said}"
            ));
        } else if key.chars().any(char::is_uppercase) {
            return Err(format!(
                "impersonating a non-lowercase key in extra is not allowed: {key:?}"
            ));
        } else if values.is_empty() {
            "empty values in extra"
        } else if values.iter().any(String::is_empty) {
            "the empty string value in extra"
        } else {
            continue;
        };
        return Err(format!("impersonating {why} is not allowed"));
    }
    Ok(())
}

fn account(name: &str) -> Option<(&str, &str)> {
    let (namespace, name) = name.strip_prefix(ACCOUNT)?.split_once(':')?;
    let good = names::is_dns1123_label(namespace).is_empty()
        && names::is_dns1123_subdomain(name).is_empty();
    good.then_some((namespace, name))
}

fn node(name: &str) -> Option<&str> {
    name.strip_prefix(NODE).filter(|name| names::is_dns1123_subdomain(name).is_empty())
}

async fn allow(authorizer: &dyn Authorizer, attributes: &Attributes) -> Result<(), ApiError> {
    match authorizer.authorize(attributes).await {
        Decision::Allow(_) => Ok(()),
        Decision::Deny(reason) | Decision::NoOpinion(reason) => Err(forbidden(attributes, &reason)),
    }
}
