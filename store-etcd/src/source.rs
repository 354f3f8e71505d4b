use std::{
    fmt, io,
    path::{Path, PathBuf},
};

/// What is needed to be let in: as it is, or in a file.
///
/// A file is read each time its content is needed, for each connection and each login, so what is replaced there is
/// used without a restart.
#[derive(Clone)]
#[non_exhaustive]
pub enum EtcdSource {
    /// As it is.
    Given(Vec<u8>),
    /// In this file.
    File(PathBuf),
}

impl EtcdSource {
    /// The content; an error names the file.
    pub(crate) async fn read(&self) -> io::Result<Vec<u8>> {
        match self {
            Self::Given(content) => Ok(content.clone()),
            Self::File(path) => tokio::fs::read(path).await.map_err(|error| {
                io::Error::new(error.kind(), format!("{}: {error}", path.display()))
            }),
        }
    }

    /// The content as text; the end of the last line of a file is none of it.
    pub(crate) async fn text(&self) -> io::Result<String> {
        let text = String::from_utf8(self.read().await?).map_err(io::Error::other)?;
        Ok(match self {
            Self::Given(_) => text,
            Self::File(_) => text.trim_end_matches(['\r', '\n']).to_owned(),
        })
    }
}

impl Default for EtcdSource {
    fn default() -> Self {
        Self::Given(Vec::new())
    }
}

/// Never what is given: it may be secret.
impl fmt::Debug for EtcdSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Given(_) => f.write_str("Given(..)"),
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
        }
    }
}

impl From<Vec<u8>> for EtcdSource {
    fn from(content: Vec<u8>) -> Self {
        Self::Given(content)
    }
}

impl From<String> for EtcdSource {
    fn from(content: String) -> Self {
        Self::Given(content.into_bytes())
    }
}

impl From<&str> for EtcdSource {
    fn from(content: &str) -> Self {
        Self::Given(content.as_bytes().to_vec())
    }
}

impl From<PathBuf> for EtcdSource {
    fn from(path: PathBuf) -> Self {
        Self::File(path)
    }
}

impl From<&Path> for EtcdSource {
    fn from(path: &Path) -> Self {
        Self::File(path.to_owned())
    }
}
