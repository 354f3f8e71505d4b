//! The small part of the shell language that simulated containers understand.

use std::{iter::Peekable, str::Chars};

/// Commands joined by their outcomes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Script {
    pub(super) steps: Vec<Step>,
    /// A command that fails ends the script, as under `sh -e`.
    pub(super) strict: bool,
}

/// One command of a script.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) link: Link,
    pub(super) words: Vec<Word>,
    pub(super) redirect: Option<Redirect>,
}

/// When a command runs, after the one before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Link {
    Always,
    AfterSuccess,
    AfterFailure,
}

/// One argument.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Word {
    pub(super) parts: Vec<Part>,
    pub(super) quoted: bool,
}

/// A piece of an argument.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Part {
    Text(String),
    Variable(String),
}

/// Where the output of a command goes instead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Redirect {
    Stderr,
    Truncate(Word),
    Append(Word),
}

const SHELLS: [&str; 3] = ["sh", "bash", "ash"];
const COMMANDS: [&str; 10] =
    ["true", "false", ":", "exit", "sleep", "echo", "env", "printenv", "cat", "trap"];

impl Script {
    /// Understands a command line, or says what is not understood.
    pub(super) fn from_argv(argv: &[String]) -> Result<Self, String> {
        let script = Self::read(argv)?;
        script.steps.iter().try_for_each(Step::check)?;
        Ok(script)
    }

    /// Every command is one of the known ones.
    pub(super) fn is_known(&self) -> bool {
        self.steps.iter().all(Step::is_known)
    }

    /// Understands the form of a command line, whether or not its commands are known.
    pub(super) fn read(argv: &[String]) -> Result<Self, String> {
        let Some(first) = argv.first() else {
            return Err("no command is given".to_owned());
        };
        match argv {
            [_, flags, text, ..] if is_shell(first) && is_script_flag(flags) => {
                Ok(Self { strict: flags.contains('e'), ..parse(text)? })
            }
            _ => {
                let words = argv.iter().map(|text| Word::text(text)).collect();
                let step = Step { link: Link::Always, words, redirect: None };
                Ok(Self { steps: vec![step], strict: false })
            }
        }
    }
}

impl Step {
    /// The name of the command, without its directory.
    pub(super) fn name(&self) -> &str {
        self.words.first().and_then(Word::literal).map(base_name).unwrap_or_default()
    }

    pub(super) fn is_known(&self) -> bool {
        let name = self.name();
        COMMANDS.contains(&name)
            && match name {
                "env" => self.words.len() == 1,
                "trap" => self.words.len() > 2 && self.words[1].parts.is_empty(),
                _ => true,
            }
    }

    fn check(&self) -> Result<(), String> {
        if self.is_known() {
            Ok(())
        } else {
            Err(format!("{:?} is not one of the commands it knows", self.name()))
        }
    }
}

impl Word {
    fn text(text: &str) -> Self {
        let parts = if text.is_empty() { Vec::new() } else { vec![Part::Text(text.to_owned())] };
        Self { parts, quoted: true }
    }

    fn literal(&self) -> Option<&str> {
        match &self.parts[..] {
            [Part::Text(text)] => Some(text),
            _ => None,
        }
    }
}

fn base_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

fn is_shell(name: &str) -> bool {
    SHELLS.contains(&base_name(name))
}

fn is_script_flag(flags: &str) -> bool {
    flags.strip_prefix('-').is_some_and(|flags| {
        flags.ends_with('c') && flags.chars().all(|flag| "ceux".contains(flag))
    })
}

fn parse(text: &str) -> Result<Script, String> {
    let mut parser = Parser { rest: text.chars().peekable(), steps: Vec::new() };
    parser.script()?;
    Ok(Script { steps: parser.steps, strict: false })
}

struct Parser<'a> {
    rest: Peekable<Chars<'a>>,
    steps: Vec<Step>,
}

impl Parser<'_> {
    fn script(&mut self) -> Result<(), String> {
        let mut link = Link::Always;
        loop {
            let (words, redirect) = self.command()?;
            if !words.is_empty() {
                self.steps.push(Step { link, words, redirect });
            } else if link != Link::Always || redirect.is_some() {
                return Err("a command is missing".to_owned());
            }
            link = match self.rest.next() {
                None => return Ok(()),
                Some(';' | '\n') => Link::Always,
                Some(sign) if self.rest.next_if_eq(&sign).is_some() => match sign {
                    '&' => Link::AfterSuccess,
                    '|' => Link::AfterFailure,
                    _ => return Err(format!("{sign:?} is not understood")),
                },
                Some(sign) => return Err(format!("{sign:?} is not understood")),
            };
        }
    }

    fn command(&mut self) -> Result<(Vec<Word>, Option<Redirect>), String> {
        let (mut words, mut redirect) = (Vec::new(), None);
        loop {
            while self.rest.next_if(|next| *next == ' ' || *next == '\t').is_some() {}
            match self.rest.peek() {
                None | Some(';' | '\n' | '&' | '|') => return Ok((words, redirect)),
                Some('#') => while self.rest.next_if(|next| *next != '\n').is_some() {},
                Some('>') => redirect = Some(self.redirect()?),
                Some(_) => words.push(self.word()?),
            }
        }
    }

    fn redirect(&mut self) -> Result<Redirect, String> {
        self.rest.next();
        let append = self.rest.next_if_eq(&'>').is_some();
        if self.rest.next_if_eq(&'&').is_some() {
            return match self.rest.next() {
                Some('2') if !append => Ok(Redirect::Stderr),
                _ => Err("only >&2 is understood".to_owned()),
            };
        }
        while self.rest.next_if_eq(&' ').is_some() {}
        let target = self.word()?;
        Ok(if append { Redirect::Append(target) } else { Redirect::Truncate(target) })
    }

    fn word(&mut self) -> Result<Word, String> {
        let mut word = Word { parts: Vec::new(), quoted: false };
        while let Some(next) = self.rest.next_if(|next| !" \t\n;&|>".contains(*next)) {
            match next {
                '\'' => {
                    word.quoted = true;
                    self.single(&mut word)?;
                }
                '"' => {
                    word.quoted = true;
                    self.double(&mut word)?;
                }
                '\\' => {
                    let escaped = self.rest.next().ok_or("a backslash at the end")?;
                    word.push(escaped);
                }
                '$' => self.variable(&mut word)?,
                '`' | '(' | ')' | '{' | '}' | '<' | '*' | '?' | '[' => {
                    return Err(format!("{next:?} is not understood"));
                }
                plain => word.push(plain),
            }
        }
        Ok(word)
    }

    fn single(&mut self, word: &mut Word) -> Result<(), String> {
        loop {
            match self.rest.next() {
                None => return Err("a quote is not closed".to_owned()),
                Some('\'') => return Ok(()),
                Some(plain) => word.push(plain),
            }
        }
    }

    fn double(&mut self, word: &mut Word) -> Result<(), String> {
        loop {
            match self.rest.next() {
                None => return Err("a quote is not closed".to_owned()),
                Some('"') => return Ok(()),
                Some('$') => self.variable(word)?,
                Some('`') => return Err("'`' is not understood".to_owned()),
                Some('\\') => {
                    if let Some(escaped) = self.rest.next_if(|next| "\"\\$`".contains(*next)) {
                        word.push(escaped);
                    } else {
                        word.push('\\');
                    }
                }
                Some(plain) => word.push(plain),
            }
        }
    }

    fn variable(&mut self, word: &mut Word) -> Result<(), String> {
        let braces = self.rest.next_if_eq(&'{').is_some();
        let mut name = String::new();
        while let Some(next) =
            self.rest.next_if(|next| next.is_ascii_alphanumeric() || *next == '_')
        {
            name.push(next);
        }
        if name.is_empty() && !braces {
            if self.rest.peek().is_none_or(|next| next.is_whitespace() || *next == '"') {
                word.push('$');
                return Ok(());
            }
            return Err("'$' before this is not understood".to_owned());
        }
        if braces && self.rest.next() != Some('}') {
            return Err("only ${NAME} is understood".to_owned());
        }
        word.parts.push(Part::Variable(name));
        Ok(())
    }
}

impl Word {
    fn push(&mut self, letter: char) {
        match self.parts.last_mut() {
            Some(Part::Text(text)) => text.push(letter),
            _ => self.parts.push(Part::Text(letter.to_string())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn argv(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    fn shell(text: &str) -> Result<Script, String> {
        Script::from_argv(&argv(&["/bin/sh", "-c", text]))
    }

    #[test]
    fn sequences_quotes_and_redirections_are_understood() {
        let script = shell("echo 'a b' \"$X\" >&2 && sleep 1; cat /f || exit 3 # done").unwrap();
        let links: Vec<Link> = script.steps.iter().map(|step| step.link).collect();
        assert_eq!(links, [Link::Always, Link::AfterSuccess, Link::Always, Link::AfterFailure]);
        assert_eq!(script.steps[0].redirect, Some(Redirect::Stderr));
        assert_eq!(script.steps[0].words[2].parts, [Part::Variable("X".to_owned())]);
        assert_eq!(script.steps[3].words.len(), 2);
    }

    #[test]
    fn what_is_not_understood_is_named() {
        for text in [
            "while true; do sleep 1; done",
            "nginx",
            "echo $(date)",
            "cat < /f",
            "echo a | cat",
            "sleep 1 &",
            "trap 'exit 0' TERM",
            "echo 'open",
        ] {
            assert!(shell(text).is_err(), "{text}");
        }
        assert!(Script::from_argv(&[]).is_err());
        let reason = Script::from_argv(&argv(&["/usr/sbin/nginx"])).unwrap_err();
        assert!(reason.contains("\"nginx\""), "{reason}");
    }

    #[test]
    fn plain_arguments_are_taken_as_they_are() {
        let script = Script::from_argv(&argv(&["/bin/echo", "$X; exit 1"])).unwrap();
        assert_eq!(script.steps.len(), 1);
        assert_eq!(script.steps[0].words[1], Word::text("$X; exit 1"));
    }
}
