use crate::Error;

/// Which controllers run, as `--controllers` says: `*` for all, `foo` for one, `-foo` for all but one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selection {
    items: Vec<String>,
}

impl Default for Selection {
    /// All of them.
    fn default() -> Self {
        Self { items: vec!["*".to_owned()] }
    }
}

impl Selection {
    /// Reads a comma-separated list.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
        Self { items: items.map(str::to_owned).collect() }
    }

    /// Whether the controller of this name runs. A name beats the star, whatever their order.
    #[must_use]
    pub fn includes(&self, name: &str) -> bool {
        let mut star = false;
        for item in &self.items {
            if item == name {
                return true;
            }
            if item.strip_prefix('-') == Some(name) {
                return false;
            }
            star |= item == "*";
        }
        star
    }

    /// Checks that every item names one of `known`.
    ///
    /// # Errors
    /// [`Error::Unknown`] with the first that does not.
    pub fn check(&self, known: &[&str]) -> Result<(), Error> {
        let unknown = self.items.iter().find(|item| {
            let name = item.strip_prefix('-').unwrap_or(item);
            *item != "*" && !known.contains(&name)
        });
        unknown.map_or(Ok(()), |item| Err(Error::Unknown(item.clone())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_beat_the_star() {
        let table = [
            ("*", "a", true),
            ("*,-a", "a", false),
            ("-a,*", "a", false),
            ("a", "b", false),
            ("a", "a", true),
        ];
        for (text, name, expected) in table {
            assert_eq!(Selection::parse(text).includes(name), expected, "{text} {name}");
        }
        assert!(Selection::parse("*,-a").check(&["a"]).is_ok());
        assert!(
            matches!(Selection::parse("*,-b").check(&["a"]), Err(Error::Unknown(item)) if item == "-b")
        );
    }
}
