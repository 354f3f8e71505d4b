//! What processes in simulated containers do.

use super::{
    files::Files,
    output::Output,
    script::{Link, Part, Redirect, Script, Step, Word},
};
use crate::{LogStream, Reader};
use kubeplane_clock::SharedClock;
use std::{
    fmt::Write,
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};
use tokio::{
    fs::{File, OpenOptions},
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt},
};

/// What a process finds around it.
#[derive(Debug)]
pub(super) struct Surroundings {
    pub(super) clock: SharedClock,
    pub(super) env: Vec<(String, String)>,
    pub(super) files: Files,
    /// The process has chosen not to end when asked to.
    pub(super) ignores_term: AtomicBool,
    /// How long a command runs that is not known; without it, until the container is stopped.
    pub(super) idle: Option<Duration>,
}

impl Surroundings {
    /// What a command does that is not known: nothing, for its time, with success.
    pub(super) async fn idle(&self) -> i32 {
        match self.idle {
            None => std::future::pending().await,
            Some(time) => self.clock.sleep(time).await,
        }
        0
    }
}

/// A process that runs a script.
pub(super) struct Process<'a> {
    pub(super) around: &'a Surroundings,
    pub(super) stdin: Option<Reader>,
    pub(super) output: &'a mut Output,
}

/// How a command went on.
enum Flow {
    Next(i32),
    Exit(i32),
}

impl Process<'_> {
    /// Runs a script to its end and gives its exit code.
    pub(super) async fn run(&mut self, script: &Script) -> i32 {
        let mut code = 0;
        for (index, step) in script.steps.iter().enumerate() {
            let skipped = match step.link {
                Link::Always => false,
                Link::AfterSuccess => code != 0,
                Link::AfterFailure => code == 0,
            };
            if skipped {
                continue;
            }
            match self.step(step, code).await {
                Flow::Next(next) => code = next,
                Flow::Exit(last) => return last,
            }
            let tested = script.steps.get(index + 1).is_some_and(|next| next.link != Link::Always);
            if script.strict && code != 0 && !tested {
                return code;
            }
        }
        code
    }

    async fn step(&mut self, step: &Step, last: i32) -> Flow {
        let words: Vec<String> = step.words.iter().skip(1).filter_map(|w| self.expand(w)).collect();
        let mut target = match self.target(step.redirect.as_ref()).await {
            Ok(target) => target,
            Err(message) => return Flow::Next(self.complain(&message, 1).await),
        };
        let code = match step.name() {
            _ if !step.is_known() => self.around.idle().await,
            "false" => 1,
            "exit" => {
                let code = words.first().map_or(Some(last), |word| word.parse().ok());
                return match code {
                    Some(code) => Flow::Exit(code & 0xff),
                    None => Flow::Exit(self.complain("exit: Illegal number", 2).await),
                };
            }
            "sleep" => self.sleep(&words).await,
            "echo" => self.print(&mut target, echo(&words).as_bytes()).await,
            "env" => self.print(&mut target, self.environment().as_bytes()).await,
            "printenv" => self.print_variable(&mut target, words.first()).await,
            "cat" => self.cat(&mut target, &words).await,
            "trap" => {
                self.around.ignores_term.store(true, Ordering::Release);
                0
            }
            _ => 0,
        };
        if let Target::File(file) = &mut target
            && let Err(error) = file.flush().await
        {
            return Flow::Next(self.complain(&error.to_string(), 1).await);
        }
        Flow::Next(code)
    }

    /// The text of a word; nothing when it is empty and not quoted, as shells do.
    fn expand(&self, word: &Word) -> Option<String> {
        let mut text = String::new();
        for part in &word.parts {
            match part {
                Part::Text(plain) => text.push_str(plain),
                Part::Variable(name) => text.push_str(self.variable(name).unwrap_or_default()),
            }
        }
        (word.quoted || !text.is_empty()).then_some(text)
    }

    fn variable(&self, name: &str) -> Option<&str> {
        let mut env = self.around.env.iter().rev();
        env.find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    fn environment(&self) -> String {
        self.around.env.iter().fold(String::new(), |mut text, (name, value)| {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{name}={value}");
            text
        })
    }

    async fn print_variable(&mut self, target: &mut Target, name: Option<&String>) -> i32 {
        let text = match name {
            None => self.environment(),
            Some(name) => match self.variable(name) {
                None => return 1,
                Some(value) => format!("{value}\n"),
            },
        };
        self.print(target, text.as_bytes()).await
    }

    async fn sleep(&mut self, words: &[String]) -> i32 {
        if words.is_empty() {
            return self.complain("sleep: missing operand", 1).await;
        }
        let mut total = Duration::ZERO;
        for word in words {
            match duration(word) {
                Some(Some(part)) => total = total.saturating_add(part),
                Some(None) => std::future::pending::<()>().await,
                None => {
                    return self.complain(&format!("sleep: invalid number '{word}'"), 1).await;
                }
            }
        }
        self.around.clock.sleep(total).await;
        0
    }

    async fn cat(&mut self, target: &mut Target, paths: &[String]) -> i32 {
        if paths.is_empty() {
            return match self.stdin.take() {
                Some(mut stdin) => self.copy(target, &mut stdin).await,
                None => 0,
            };
        }
        let mut code = 0;
        for path in paths {
            let opened = match self.around.files.to_read(path) {
                Some(outside) => open(&outside).await,
                None => Err("No such file or directory".to_owned()),
            };
            match opened {
                Ok(mut file) => code |= self.copy(target, &mut file).await,
                Err(reason) => {
                    code = self.complain(&format!("cat: can't open '{path}': {reason}"), 1).await;
                }
            }
        }
        code
    }

    async fn copy(
        &mut self,
        target: &mut Target,
        from: &mut (dyn AsyncRead + Send + Unpin),
    ) -> i32 {
        let mut chunk = vec![0; 16 << 10];
        loop {
            match from.read(&mut chunk).await {
                Ok(0) => return 0,
                Ok(size) => self.print(target, &chunk[..size]).await,
                Err(error) => return self.complain(&format!("cat: read error: {error}"), 1).await,
            };
        }
    }

    async fn target(&mut self, redirect: Option<&Redirect>) -> Result<Target, String> {
        let (word, append) = match redirect {
            None => return Ok(Target::Stdout),
            Some(Redirect::Stderr) => return Ok(Target::Stderr),
            Some(Redirect::Truncate(word)) => (word, false),
            Some(Redirect::Append(word)) => (word, true),
        };
        let path = self.expand(word).unwrap_or_default();
        let told = |reason: &dyn std::fmt::Display| format!("sh: can't create {path}: {reason}");
        let outside = self.around.files.to_write(&path).map_err(|reason| told(&reason))?;
        let mut options = OpenOptions::new();
        options.create(true).append(append).write(true).truncate(!append);
        options.open(outside).await.map(Target::File).map_err(|error| told(&reason(&error)))
    }

    async fn print(&mut self, target: &mut Target, bytes: &[u8]) -> i32 {
        match target {
            Target::Stdout => self.output.write(LogStream::Stdout, bytes).await,
            Target::Stderr => self.output.write(LogStream::Stderr, bytes).await,
            Target::File(file) => {
                if let Err(error) = file.write_all(bytes).await {
                    return self.complain(&format!("write error: {}", reason(&error)), 1).await;
                }
            }
        }
        0
    }

    /// Tells on standard error what went wrong; gives back `code`.
    pub(super) async fn complain(&mut self, message: &str, code: i32) -> i32 {
        self.output.write(LogStream::Stderr, format!("{message}\n").as_bytes()).await;
        code
    }
}

/// Where the output of one command goes.
enum Target {
    Stdout,
    Stderr,
    File(File),
}

async fn open(path: &Path) -> Result<File, String> {
    let file = File::open(path).await.map_err(|error| reason(&error))?;
    match file.metadata().await {
        Ok(metadata) if metadata.is_dir() => Err("Is a directory".to_owned()),
        Ok(_) => Ok(file),
        Err(error) => Err(reason(&error)),
    }
}

/// The system's words for an error, without its number.
fn reason(error: &std::io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or_default().to_owned()
}

/// A number of seconds, or with a unit; `None` inside for ever.
fn duration(text: &str) -> Option<Option<Duration>> {
    if text == "infinity" || text == "inf" {
        return Some(None);
    }
    let (number, unit) = match text.strip_suffix(['s', 'm', 'h', 'd']) {
        Some(number) => (number, &text[number.len()..]),
        None => (text, "s"),
    };
    let seconds = number.parse::<f64>().ok()?
        * match unit {
            "m" => 60.0,
            "h" => 3600.0,
            "d" => 86400.0,
            _ => 1.0,
        };
    Duration::try_from_secs_f64(seconds).ok().map(Some)
}

fn echo(words: &[String]) -> String {
    let flags = words.iter().take_while(|word| {
        word.len() > 1
            && word.starts_with('-')
            && word[1..].chars().all(|flag| "neE".contains(flag))
    });
    let flags: Vec<&String> = flags.collect();
    let has = |flag| flags.iter().any(|word| word.contains(flag));
    let mut text = words[flags.len()..].join(" ");
    if has('e') {
        text = text.replace("\\n", "\n").replace("\\t", "\t").replace("\\\\", "\\");
    }
    if !has('n') {
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_units() {
        assert_eq!(duration("1.5"), Some(Some(Duration::from_millis(1500))));
        assert_eq!(duration("2m"), Some(Some(Duration::from_secs(120))));
        assert_eq!(duration("infinity"), Some(None));
        assert_eq!(duration("soon"), None);
        assert_eq!(duration("-1"), None);
    }

    #[test]
    fn echo_takes_its_flags() {
        let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(echo(&words("a b")), "a b\n");
        assert_eq!(echo(&words("-n a -n")), "a -n");
        assert_eq!(echo(&words("-e a\\nb")), "a\nb\n");
        assert_eq!(echo(&[]), "\n");
    }
}
