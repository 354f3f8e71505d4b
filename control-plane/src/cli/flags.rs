use super::Cli;
use clap::{ArgMatches, Command, CommandFactory as _};
use std::{collections::BTreeMap, ffi::OsStr};

/// The flags of this process by name: their values, or the defaults of those that were not said.
pub(crate) fn flags() -> BTreeMap<String, String> {
    let command = Cli::command();
    let Ok(matches) = command.clone().try_get_matches_from(std::env::args_os()) else {
        return BTreeMap::new();
    };
    let own =
        matches.subcommand().and_then(|(name, own)| Some((command.find_subcommand(name)?, own)));
    let (command, matches) = own.unwrap_or((&command, &matches));
    told(command, matches)
}

fn told(command: &Command, matches: &ArgMatches) -> BTreeMap<String, String> {
    let flags = command.get_arguments().filter_map(|flag| {
        let values = matches.try_get_raw(flag.get_id().as_str()).ok()?;
        let values: Vec<_> = values.into_iter().flatten().map(OsStr::to_string_lossy).collect();
        Some((flag.get_long()?.to_owned(), values.join(",")))
    });
    flags.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_told_by_name_with_what_they_are() {
        let command = Cli::command();
        let given = ["kubeplane", "--pod-cidr=10.7.0.0/24"];
        let flags = told(&command, &command.clone().try_get_matches_from(given).unwrap());
        assert_eq!(flags["pod-cidr"], "10.7.0.0/24");
        assert_eq!(flags["simulated-exit-delay"], "1s", "the default");
        assert!(!flags.contains_key("pod_cidr"), "{flags:?}");
    }
}
