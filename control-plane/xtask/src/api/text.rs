//! Tokens as one line of text, spaced as people write them.

use proc_macro2::{Delimiter, Spacing, TokenStream, TokenTree};
use quote::ToTokens;

/// Words after which a bracket or a reference stands apart.
const WORDS: [&str; 10] =
    ["mut", "for", "as", "dyn", "in", "where", "const", "impl", "async", "unsafe"];

pub(super) fn of(tokens: impl ToTokens) -> String {
    let mut text = String::new();
    write(tokens.into_token_stream(), &mut text);
    text.trim_end().to_owned()
}

/// What stands before the next token.
#[derive(Clone, Copy, PartialEq)]
enum Before {
    Nothing,
    /// A name or a literal, and whether it is one of the words above.
    Word(bool),
    Lifetime,
    /// A closing bracket.
    Close,
    Sign,
}

fn write(tokens: TokenStream, text: &mut String) {
    let mut before = Before::Nothing;
    let mut is_lifetime = false;
    let mut tokens = tokens.into_iter().peekable();
    while let Some(token) = tokens.next() {
        match token {
            TokenTree::Group(group) => {
                if matches!(before, Before::Word(true) | Before::Lifetime) {
                    space(text);
                }
                bracket(&group, text);
                before = Before::Close;
            }
            TokenTree::Punct(sign) if sign.as_char() == '\'' => {
                if matches!(before, Before::Word(_)) {
                    space(text);
                }
                text.push('\'');
                is_lifetime = true;
            }
            TokenTree::Punct(sign) => {
                let mut signs = String::from(sign.as_char());
                let mut spacing = sign.spacing();
                while spacing == Spacing::Joint && joins(&signs) {
                    match tokens.peek() {
                        Some(TokenTree::Punct(next)) if next.as_char() != '\'' => {
                            let joined = format!("{signs}{}", next.as_char());
                            if !JOINED.contains(&joined.as_str()) {
                                break;
                            }
                            signs = joined;
                            spacing = next.spacing();
                            tokens.next();
                        }
                        _ => break,
                    }
                }
                // A comma at the very end says nothing.
                if signs != "," || tokens.peek().is_some() {
                    write_sign(&signs, before, text);
                }
                before = if signs == ">" { Before::Close } else { Before::Sign };
            }
            TokenTree::Ident(_) | TokenTree::Literal(_) => {
                let word = token.to_string();
                if is_lifetime {
                    is_lifetime = false;
                    text.push_str(&word);
                    before = Before::Lifetime;
                    continue;
                }
                if matches!(before, Before::Word(_) | Before::Lifetime | Before::Close) {
                    space(text);
                }
                before = Before::Word(WORDS.contains(&word.as_str()));
                text.push_str(&word);
            }
        }
    }
}

const JOINED: [&str; 9] = ["->", "=>", "::", "..", "..=", "...", "==", "&&", "||"];

fn joins(signs: &str) -> bool {
    JOINED.iter().any(|joined| joined.len() > signs.len() && joined.starts_with(signs))
}

fn write_sign(signs: &str, before: Before, text: &mut String) {
    match signs {
        "," | ";" => {
            text.push_str(signs);
            text.push(' ');
        }
        ":" => text.push_str(": "),
        "->" | "=>" | "=" | "+" | "==" => {
            space(text);
            text.push_str(signs);
            text.push(' ');
        }
        "&" | "&&" | "*" | "!" | "?" => {
            if matches!(before, Before::Word(_) | Before::Lifetime) {
                space(text);
            }
            text.push_str(signs);
        }
        "<" if before == Before::Word(true)
            && !text.ends_with("impl")
            && !text.ends_with("for") =>
        {
            space(text);
            text.push_str(signs);
        }
        _ => text.push_str(signs),
    }
}

fn bracket(group: &proc_macro2::Group, text: &mut String) {
    let (open, close) = match group.delimiter() {
        Delimiter::Parenthesis => ("(", ")"),
        Delimiter::Bracket => ("[", "]"),
        Delimiter::Brace => ("{", "}"),
        Delimiter::None => ("", ""),
    };
    text.push_str(open);
    write(group.stream(), text);
    while text.ends_with(' ') {
        text.pop();
    }
    text.push_str(close);
}

fn space(text: &mut String) {
    if !text.is_empty() && !text.ends_with([' ', '(', '[', '<', '{', '&', ':']) {
        text.push(' ');
    }
}
