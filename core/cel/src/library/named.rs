//! Named formats of texts.

use super::{Function, Out, overload, text};
use crate::{
    time,
    value::{Extra, Value},
};
use kubeplane_core::{definition::NameRule, names};

/// A named format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    Name(NameRule, bool),
    QualifiedName,
    LabelValue,
    Uri,
    Uuid,
    Byte,
    Date,
    DateTime,
}

impl Format {
    fn named(name: &str) -> Option<Self> {
        Some(match name {
            "dns1123Label" => Self::Name(NameRule::DnsLabel, false),
            "dns1123LabelPrefix" => Self::Name(NameRule::DnsLabel, true),
            "dns1123Subdomain" => Self::Name(NameRule::DnsSubdomain, false),
            "dns1123SubdomainPrefix" => Self::Name(NameRule::DnsSubdomain, true),
            "dns1035Label" => Self::Name(NameRule::Dns1035Label, false),
            "dns1035LabelPrefix" => Self::Name(NameRule::Dns1035Label, true),
            "qualifiedName" => Self::QualifiedName,
            "labelValue" => Self::LabelValue,
            "uri" => Self::Uri,
            "uuid" => Self::Uuid,
            "byte" => Self::Byte,
            "date" => Self::Date,
            "datetime" => Self::DateTime,
            _ => return None,
        })
    }

    /// The length of the pattern that the format would be, which costs are counted by.
    pub(crate) fn pattern_length(self) -> u64 {
        match self {
            Self::Name(NameRule::DnsSubdomain, _) | Self::QualifiedName => 60,
            Self::Name(..) => 30,
            Self::LabelValue => 40,
            Self::Uri => 1103,
            Self::Uuid => 70,
            Self::Byte => 84,
            Self::Date | Self::DateTime => 71,
        }
    }

    /// What is wrong with a text.
    fn faults(self, text: &str) -> Vec<String> {
        let one = |holds: bool, why: &str| if holds { Vec::new() } else { vec![why.to_owned()] };
        match self {
            Self::Name(rule, prefix) => names::check(rule, text, prefix),
            Self::QualifiedName => names::is_qualified_name(text),
            Self::LabelValue => names::is_valid_label_value(text),
            Self::Uri => super::url::check(text).err().into_iter().collect(),
            Self::Uuid => one(is_uuid(text), "does not match the UUID format"),
            Self::Byte => one(super::base64(text).is_some(), "invalid base64"),
            Self::Date => {
                one(text.len() == 10 && text.parse::<jiff::civil::Date>().is_ok(), "invalid date")
            }
            Self::DateTime => one(time::rfc3339(text).is_some(), "invalid datetime"),
        }
    }
}

/// Groups of hexadecimal digits, with or without dashes between them.
fn is_uuid(text: &str) -> bool {
    let mut rest = text;
    for (index, length) in [8, 4, 4, 4, 12].into_iter().enumerate() {
        if index > 0 {
            rest = rest.strip_prefix('-').unwrap_or(rest);
        }
        match rest.get(..length) {
            Some(group) if group.bytes().all(|byte| byte.is_ascii_hexdigit()) => {
                rest = &rest[length..]
            }
            _ => return false,
        }
    }
    rest.is_empty()
}

macro_rules! constant {
    ($name:literal) => {
        |_| {
            Format::named($name)
                .map_or_else(overload, |format| Ok(Value::Extra(Extra::Format(format))))
        }
    };
}

pub(super) fn named(name: &str) -> Option<Function> {
    Some(match name {
        "format.named" => |args| {
            let found = Format::named(text(args, 0)?);
            Ok(Value::Optional(found.map(|format| Value::Extra(Extra::Format(format)).into())))
        },
        "validate" => validate,
        "format.dns1123Label" => constant!("dns1123Label"),
        "format.dns1123LabelPrefix" => constant!("dns1123LabelPrefix"),
        "format.dns1123Subdomain" => constant!("dns1123Subdomain"),
        "format.dns1123SubdomainPrefix" => constant!("dns1123SubdomainPrefix"),
        "format.dns1035Label" => constant!("dns1035Label"),
        "format.dns1035LabelPrefix" => constant!("dns1035LabelPrefix"),
        "format.qualifiedName" => constant!("qualifiedName"),
        "format.labelValue" => constant!("labelValue"),
        "format.uri" => constant!("uri"),
        "format.uuid" => constant!("uuid"),
        "format.byte" => constant!("byte"),
        "format.date" => constant!("date"),
        "format.datetime" => constant!("datetime"),
        _ => return None,
    })
}

fn validate<'a>(args: &[Value<'a>]) -> Out<'a> {
    let Some(Value::Extra(Extra::Format(format))) = args.first() else { return overload() };
    let faults = format.faults(text(args, 1)?);
    if faults.is_empty() {
        return Ok(Value::Optional(None));
    }
    let faults: Vec<Value<'a>> = faults.into_iter().map(Value::from).collect();
    Ok(Value::from(faults).some())
}
