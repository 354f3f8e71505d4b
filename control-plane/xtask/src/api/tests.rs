use super::{listing::Listing, policy, source::Source, surface, text};
use std::{collections::BTreeSet, path::Path};

type Lines = BTreeSet<String>;

/// What a crate of these files shows.
fn shown(files: &[(&str, &str)]) -> Lines {
    let read = |path: &Path| {
        let file = files.iter().find(|(name, _)| path == Path::new(name));
        file.map(|(_, text)| (*text).to_owned())
    };
    let source = Source::read(Path::new("src/lib.rs"), &read).unwrap();
    surface::lines(&source, false).unwrap()
}

fn one(text: &str) -> Lines {
    shown(&[("src/lib.rs", text)])
}

/// What the checks say of a crate that showed the one and shows the other.
fn judged(before: &Lines, after: &Lines, version: &str, changelog: &str) -> Vec<String> {
    let listing = Listing::of("0.1.0", before).updated(after);
    policy::check("shop", version, &listing, changelog)
}

const LIBRARY: &str = r#"
//! A shop.
mod error;
mod hidden;
pub mod store;
pub use error::{Error, Result};
pub use store::Shelf as Board;
pub use other::Thing;

use std::{fmt, sync::Arc};

/// What is sold.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Ware<'a> { pub name: &'a str, price: u32 }

impl<'a> Ware<'a> {
    pub const MOST: u32 = 7;
    #[must_use]
    pub fn new(name: &'a str) -> Self { todo!() }
    fn secret(&self) {}
    #[doc(hidden)]
    pub fn internal(&self) {}
}

impl fmt::Display for Ware<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { Ok(()) }
}

pub async fn open(path: &std::path::Path, then: impl Fn(Arc<Ware<'_>>) + Send) -> Result<()> { todo!() }
pub(crate) fn inner() {}

macro_rules! id { ($name:ident) => { pub struct $name(String); } }
id! {
    /// A number.
    Number
}
#[macro_export]
macro_rules! shop { () => {} }
#[cfg(test)]
pub mod tests { pub fn not_shown() {} }
#[cfg(feature = "more")]
pub fn more() {}
"#;
const STORE: &str = r#"
use crate::{Error, hidden::Private};
#[async_trait::async_trait]
pub trait Store: Send + Sync + 'static {
    type Key;
    async fn get(&self, key: &Self::Key) -> crate::Result<Shelf>;
    fn count(&mut self) -> usize { 0 }
}
pub struct Shelf { pub boards: Vec<u8>, pub on: [u8; 2] }
impl From<Shelf> for String { fn from(_: Shelf) -> Self { todo!() } }
impl Private { pub fn no(&self) {} }
impl Iterator for Shelf { type Item = Error; fn next(&mut self) -> Option<Error> { None } }
"#;
const ERROR: &str = r#"
pub type Result<T, E = Error> = std::result::Result<T, E>;
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    #[error("io")]
    Io(#[from] std::io::Error),
    #[error("no {name}")]
    Missing { name: String },
    #[error("none")]
    Empty,
}
"#;

#[test]
fn what_can_be_reached_is_shown_and_nothing_else() {
    let found = shown(&[
        ("src/lib.rs", LIBRARY),
        ("src/store.rs", STORE),
        ("src/error.rs", ERROR),
        (
            "src/hidden.rs",
            "pub struct Private; impl Clone for Private { fn clone(&self) -> Self { Self } }",
        ),
    ]);
    let found: Vec<_> = found.iter().map(String::as_str).collect();
    let wanted = [
        "Board: struct",
        "Board: impl From<Board> for String",
        "Board: impl Iterator for Board, Item = Error",
        "Board::boards: field Vec<u8>",
        "Board::on: field [u8; 2]",
        "Error: #[non_exhaustive] enum",
        "Error: impl Debug for Error",
        "Error: impl Display for Error",
        "Error: impl From<std::io::Error> for Error",
        "Error: impl std::error::Error for Error",
        "Error::Empty: variant",
        "Error::Io: variant(std::io::Error)",
        "Error::Missing: variant {name: String}",
        "Number: made by id!(Number)",
        "Result: type<T, E = Error> = std::result::Result<T, E>",
        "Thing: use other::Thing",
        "Ware: #[non_exhaustive] struct<'a>, not made outside",
        "Ware: derive Clone for Ware",
        "Ware: derive Debug for Ware",
        "Ware: impl Display for Ware<'_>",
        "Ware::MOST: const u32, of impl<'a> Ware<'a>",
        "Ware::name: field &'a str",
        "Ware::new: fn(&'a str) -> Self, of impl<'a> Ware<'a>",
        "more: fn()",
        "open: async fn(&Path, impl Fn(Arc<Ware<'_>>) + Send) -> Result<()>",
        "shop: macro",
        "store: mod",
        "store::Shelf: use Board",
        "store::Store: #[async_trait] trait: Send + Sync + 'static",
        "store::Store::Key: required type",
        "store::Store::count: provided fn(&mut self) -> usize",
        "store::Store::get: required async fn(&self, &Self::Key) -> Result<Board>",
    ];
    let missing: Vec<_> = wanted.iter().filter(|line| !found.contains(line)).collect();
    let more: Vec<_> = found.iter().filter(|line| !wanted.contains(line)).collect();
    assert!(missing.is_empty() && more.is_empty(), "missing {missing:#?}\ntoo much {more:#?}");
}

#[test]
fn what_only_reads_otherwise_is_the_same() {
    let before = one("use std::time::Duration; pub fn wait(long: Duration) {}");
    assert_eq!(one("pub fn wait(time: std::time::Duration) {}"), before);
    assert_eq!(
        shown(&[
            ("src/lib.rs", "mod wait; pub use wait::wait;"),
            (
                "src/wait.rs",
                "use core::time; pub fn wait(mut long: time::Duration) { long += long; }"
            ),
        ]),
        before
    );
    // The same words, and another thing.
    assert_ne!(one("use other::Duration; pub fn wait(long: Duration) {}"), before);
}

#[test]
fn text_is_spaced_as_people_write() {
    for line in [
        "&'a mut [u8]",
        "impl<T: ?Sized + Send> Fn(&'a T, u8) -> Box<dyn Future<Output = ()> + Send>",
        "<T as Iterator>::Item",
        "[u8; 4]",
        "*const u8",
        "for<'a> fn(&'a str) -> !",
    ] {
        let tokens: proc_macro2::TokenStream = line.parse().unwrap();
        assert_eq!(text::of(tokens), line);
    }
}

#[test]
fn a_record_tells_what_vanished_changed_and_came() {
    let before = one("pub fn a() {} pub fn b(x: u8) {} pub struct C;");
    let after = one("pub fn b(x: u16) {} pub struct C; impl Clone for C {} pub fn d() {}");
    let recorded = Listing::of("0.1.0", &before);
    let now = recorded.updated(&after);
    assert_eq!(
        recorded.told(&now),
        [
            "vanished: a: fn()",
            "changed: b: fn(u8) -> fn(u16)",
            "added: C: impl Clone for C",
            "added: d: fn()"
        ]
    );
    assert!(recorded.told(&recorded.updated(&before)).is_empty());
    // The file holds all of it, and what is back is as if it never went.
    let again = Listing::parse(&now.to_text("shop")).unwrap();
    assert_eq!(again, now);
    assert!(now.to_text("shop").contains("\n- a: fn()\n"));
    assert_eq!(again.updated(&before), recorded);
    assert!(now.told(&again.updated(&after)).is_empty());
}

#[test]
fn what_breaks_others_is_told_as_breaking_by_name() {
    let before = one("pub struct C; impl C { pub fn a(&self) {} } pub fn b() {}");
    let after = one("pub struct C; pub fn b(more: u8) {}");
    let said = |text: &str| {
        let changelog = format!(
            "# Changelog\n\n## Unreleased\n\n{text}\n\n## 0.1.0\n\n- **breaking (shop):** `C`, `b`.\n"
        );
        judged(&before, &after, "0.1.0", &changelog)
    };
    let broken = said("");
    assert_eq!(broken.len(), 2, "{broken:#?}");
    assert!(broken.iter().all(|line| line.contains("breaks others")), "{broken:#?}");
    // Neither another crate's entry, nor one that is of another kind, nor one that names something else.
    assert_eq!(said("- **breaking (shop-front):** `C::a`, `b`.").len(), 2);
    assert_eq!(said("- **changed (shop):** `C::a`, `b`.").len(), 2);
    assert_eq!(said("- **breaking (shop):** `d`.").len(), 2);
    assert_eq!(said("- **breaking (shop):** no `C::a`.").len(), 1);
    assert_eq!(
        said("- **fixed (cellar, shop):** x. **breaking:** no `C::a`;\n  `b` asks for `more`."),
        [""; 0]
    );
}

#[test]
fn what_is_new_is_told_once_a_type() {
    let before = one("pub struct C(u8);");
    let after = one("pub struct C(u8); impl C { pub fn a() {} pub fn b() {} } pub fn d() {}");
    let said = |text: &str| judged(&before, &after, "0.1.0", &format!("## Unreleased\n{text}\n"));
    assert_eq!(said("").len(), 2, "a type and a function: {:#?}", said(""));
    assert_eq!(said("- **added (shop):** `d`.").len(), 1);
    assert_eq!(said("- **added\n  (shop):** `C::{a,b}` and `d`."), [""; 0]);
}

#[test]
fn what_asks_something_of_others_breaks_them_too() {
    let breaks = |before: &str, after: &str| {
        let listing = Listing::of("0.1.0", &one(before)).updated(&one(after));
        listing.breaking().into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    let none = [""; 0];
    // A method that implementers have to write, but for those of new traits.
    let more = breaks("pub trait T {}", "pub trait T { fn a(&self); fn b(&self) {} }");
    assert_eq!(more, ["T::a: required fn(&self)"]);
    assert_eq!(breaks("", "pub trait T { fn a(&self); }"), none);
    assert_eq!(breaks("pub trait T { fn a(&self); }", "pub trait T { fn a(&self) {} }"), none);
    let taken = breaks("pub trait T { fn a(&self) {} }", "pub trait T { fn a(&self); }");
    assert_eq!(taken, ["T::a: provided fn(&self)"]);
    // A case where all had to be told apart.
    assert_eq!(breaks("pub enum E { A }", "pub enum E { A, B }"), ["E::B: variant"]);
    let growing = ["#[non_exhaustive] pub enum E { A }", "#[non_exhaustive] pub enum E { A, B }"];
    assert_eq!(breaks(growing[0], growing[1]), none);
    assert_eq!(breaks("pub enum E { A }", "#[non_exhaustive] pub enum E { A }"), ["E: enum"]);
    // A field where all had to be written out.
    let fields = breaks("pub struct S { pub a: u8 }", "pub struct S { pub a: u8, pub b: u8 }");
    assert_eq!(fields, ["S::b: field u8"]);
    assert_eq!(breaks("pub struct S { a: u8 }", "pub struct S { a: u8, pub b: u8 }"), none);
    assert_eq!(
        breaks("pub struct S { pub a: u8 }", "pub struct S { pub a: u8, b: u8 }"),
        ["S: struct"]
    );
}

#[test]
fn a_release_takes_the_version_that_its_changes_need() {
    let (before, more, less) =
        (one("pub fn a() {}"), one("pub fn a() {} pub fn b() {}"), one("pub fn b() {}"));
    let released = |after: &Lines, from: &str, to: &str| {
        let changelog = format!(
            "## Unreleased\n\n## {to} (2026-01-01)\n\n- **breaking (shop):** `a` is `b`.\n"
        );
        let listing = Listing::of(from, &before).updated(after);
        policy::check("shop", to, &listing, &changelog)
    };
    let none = [""; 0];
    assert_eq!(released(&more, "0.1.0", "0.1.1"), none);
    assert_eq!(released(&less, "0.1.0", "0.2.0"), none);
    assert_eq!(released(&less, "1.4.2", "2.0.0"), none);
    for (from, to) in [("0.1.0", "0.1.1"), ("1.4.2", "1.5.0"), ("0.2.0", "0.1.9")] {
        let broken = released(&less, from, to);
        assert!(
            broken.len() == 1 && broken[0].contains("too little"),
            "{from} -> {to}: {broken:#?}"
        );
    }
    assert_eq!(released(&more, "0.2.0", "0.1.9").len(), 1, "no version goes back");
}

#[test]
fn errors_have_room_for_more() {
    let error = |mark: &str| {
        one(&format!(
            "#[derive(Debug, thiserror::Error)] {mark} pub enum Trouble {{ #[error(\"a\")] A }} pub enum Choice {{ A }}"
        ))
    };
    let broken = policy::errors_that_cannot_grow("shop", &error(""));
    assert!(broken.len() == 1 && broken[0].contains("Trouble"), "{broken:#?}");
    assert!(policy::errors_that_cannot_grow("shop", &error("#[non_exhaustive]")).is_empty());
    let by_hand = one("pub enum Trouble { A } impl std::error::Error for Trouble {}");
    assert_eq!(policy::errors_that_cannot_grow("shop", &by_hand).len(), 1);
}
