mod names;

use crate::Error;

/// Which controllers run, as `--controllers` says: `*` for all, `foo` for one, `-foo` for all but one. The names that the
/// original's controllers had before, as `deployment`, stand for those of today.
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
        let is = |item: &str| item == name || names::today(item) == name;
        for item in &self.items {
            if is(item) {
                return true;
            }
            if item.strip_prefix('-').is_some_and(is) {
                return false;
            }
            star |= item == "*";
        }
        star
    }

    /// Checks that every item names one of `known`, or one of the original's that only some assemblies have. One that none
    /// has may be left out, not asked for.
    ///
    /// # Errors
    /// [`Error::Unknown`] with the first that does not.
    pub fn check(&self, known: &[&str]) -> Result<(), Error> {
        let unknown = self.items.iter().find(|item| {
            let left_out = item.strip_prefix('-');
            let name = left_out.unwrap_or(item);
            let today = names::today(name);
            let absent = match left_out {
                Some(_) => names::may_be_left_out(today),
                None => names::may_run(today),
            };
            *item != "*" && !absent && !known.contains(&name) && !known.contains(&today)
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

    #[test]
    fn what_the_original_knows_is_known() {
        let today = "deployment-controller";
        assert!(!Selection::parse("*,-deployment").includes(today));
        assert!(Selection::parse("deployment").includes(today));
        assert!(Selection::parse("*,-deployment,ttl").check(&[today, "ttl-controller"]).is_ok());
        // A controller of somebody's own may have such a name.
        assert!(!Selection::parse("*,-job").includes("job"));
        assert!(Selection::parse("job").check(&["job"]).is_ok());
        let absent = [
            "*,-nodeipam",
            "*,csrsigning",
            "*,-selinux-warning-controller",
            "*,-service",
            "*,-svm",
        ];
        for absent in absent {
            assert!(Selection::parse(absent).check(&["a"]).is_ok(), "{absent}");
        }
        assert!(Selection::parse("selinux-warning-controller").check(&["a"]).is_err());
    }
}
