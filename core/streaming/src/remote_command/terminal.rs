use crate::{Result, StreamReader, StreamWriter};
use serde::{Deserialize, Serialize};
use tokio::io::AsyncWriteExt;

/// The size of a terminal, in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct TerminalSize {
    /// Columns.
    #[serde(default)]
    pub width: u16,
    /// Rows.
    #[serde(default)]
    pub height: u16,
}

/// The sizes the caller's terminal takes.
#[derive(Debug)]
pub struct ResizeReceiver {
    reader: StreamReader,
    buffer: Vec<u8>,
}

/// What a size may be written with at most.
const MAX_SIZE_TEXT: usize = 4 << 10;

impl ResizeReceiver {
    pub(crate) fn new(reader: StreamReader) -> Self {
        Self { reader, buffer: Vec::new() }
    }

    /// The next size; `None` when no more come.
    ///
    /// # Cancellation
    /// Nothing is lost when the future is dropped.
    pub async fn recv(&mut self) -> Option<TerminalSize> {
        loop {
            let mut sizes = serde_json::Deserializer::from_slice(&self.buffer).into_iter();
            match sizes.next() {
                Some(Ok(size)) => {
                    let taken = sizes.byte_offset();
                    self.buffer.drain(..taken);
                    return Some(size);
                }
                Some(Err(error)) if !error.is_eof() => return None,
                _ if self.buffer.len() > MAX_SIZE_TEXT => return None,
                _ => {}
            }
            self.buffer.extend_from_slice(&self.reader.chunk().await?);
        }
    }
}

/// Tells the process about the size of the caller's terminal.
#[derive(Debug)]
pub struct ResizeSender {
    writer: StreamWriter,
}

impl ResizeSender {
    pub(crate) fn new(writer: StreamWriter) -> Self {
        Self { writer }
    }

    /// Sends a size.
    ///
    /// # Errors
    /// `Io` when the connection is gone.
    pub async fn send(&mut self, size: TerminalSize) -> Result<()> {
        let text = serde_json::to_vec(&size).map_err(std::io::Error::from)?;
        Ok(self.writer.write_all(&text).await?)
    }
}
