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

    /// Whether there is no user, and so no token.
    pub(crate) fn is_nobody(&self) -> bool {
        self.user.is_none()
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
    let password = user.password.text().await;
    let password =
        password.map_err(|error| Status::unauthenticated(format!("the password: {error}")))?;
    let mut last = Status::unavailable("no member was asked");
    for member in members.order() {
        let message = AuthenticateRequest { name: user.name.clone(), password: password.clone() };
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

#[cfg(test)]
mod tests {
    use crate::{client::Client, options::EtcdOptions};
    use futures::future::join_all;
    use std::time::Duration;
    use tokio::net::TcpListener;
    use tonic::Code;

    #[tokio::test]
    async fn many_who_wait_for_a_token_wait_no_longer_than_one() {
        // Connections are taken by the system, and nobody ever answers.
        let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", silent.local_addr().unwrap());
        let mut options = EtcdOptions::new([url]).user("root", "password");
        options.timeout = Duration::from_millis(500);
        let client = Client::new(&options).unwrap();
        let logins = join_all((0..200).map(|_| client.token()));
        // One after the other they would take 100 seconds.
        let logins = tokio::time::timeout(Duration::from_secs(30), logins).await.unwrap();
        for login in logins {
            assert_eq!(login.unwrap_err().code(), Code::Unauthenticated);
        }
    }

    #[tokio::test]
    async fn a_password_file_that_is_not_there_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("password");
        let options = EtcdOptions::new(["http://127.0.0.1:1"]).user("root", path);
        let refused = Client::new(&options).unwrap().token().await.unwrap_err();
        assert!(refused.message().contains("password: No such file"), "{refused}");
    }
}
