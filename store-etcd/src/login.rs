//! The token of a user: got with the password, and got again when etcd takes it no more.

use crate::{
    failure,
    generated::etcdserverpb::{AuthenticateRequest, auth_client::AuthClient},
    members::Members,
    options::EtcdUser,
};
use std::time::Duration;
use tokio::sync::Mutex;
use tonic::{
    Request, Status,
    metadata::{Ascii, MetadataValue},
};

/// A token and how many there were before it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Token {
    generation: u64,
    value: Option<MetadataValue<Ascii>>,
}

impl Token {
    pub(crate) fn sign<T>(&self, request: &mut Request<T>) {
        if let Some(value) = &self.value {
            request.metadata_mut().insert("token", value.clone());
        }
    }
}

/// Who the store is for etcd.
#[derive(Debug)]
pub(crate) struct Login {
    user: Option<EtcdUser>,
    state: Mutex<(Token, bool)>,
}

impl Login {
    pub(crate) fn new(user: Option<EtcdUser>) -> Self {
        let valid = user.is_none();
        Self { user, state: Mutex::new((Token::default(), valid)) }
    }

    /// The token to send; asks for one if there is none. Without a user, and where etcd has no users, an empty one.
    pub(crate) async fn token(
        &self,
        members: &Members,
        patience: Duration,
    ) -> Result<Token, Status> {
        let Some(user) = &self.user else { return Ok(Token::default()) };
        // Held while asking, so that many callers ask once.
        let mut state = self.state.lock().await;
        if !state.1 {
            let value = authenticate(user, members, patience).await?;
            let generation = state.0.generation + 1;
            *state = (Token { generation, value }, true);
        }
        Ok(state.0.clone())
    }

    /// etcd did not take this token; whether another may help.
    pub(crate) async fn refused(&self, token: &Token) -> bool {
        if self.user.is_none() {
            return false;
        }
        let mut state = self.state.lock().await;
        if state.0.generation == token.generation {
            state.1 = false;
        }
        true
    }
}

async fn authenticate(
    user: &EtcdUser,
    members: &Members,
    patience: Duration,
) -> Result<Option<MetadataValue<Ascii>>, Status> {
    let mut last = Status::unavailable("no member was asked");
    for member in members.order() {
        let message =
            AuthenticateRequest { name: user.name.clone(), password: user.password.clone() };
        let mut request = Request::new(message);
        request.set_timeout(patience);
        match AuthClient::new(member.channel()).authenticate(request).await {
            Ok(answer) => {
                let token = answer.into_inner().token;
                let value = token
                    .parse()
                    .map_err(|_| Status::internal("etcd gave a token that is no header value"))?;
                return Ok(Some(value));
            }
            Err(status) if failure::has_no_users(&status) => return Ok(None),
            Err(status) if failure::is_worth_another_member(&status) => {
                members.is_away(&member);
                last = status;
            }
            Err(status) => return Err(status),
        }
    }
    Err(last)
}
