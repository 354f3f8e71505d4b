//! Bringing an object that nearly fits its shape into it where it stands: what changes an object leaves most of it as
//! it was, and reading all of it again costs more than the change.

use super::{defaults, scalar};
use crate::{
    Object,
    quantity::Quantity,
    schema::{Field, Kind, Presence, Schema, SchemaRef},
};
use serde_json::{Map, Value};
use std::borrow::Cow;

/// What has to be decoded to say what is wrong with it, or because nobody knows how to settle it.
#[derive(Debug)]
struct Unsettled;

type Settled = Result<(), Unsettled>;

/// Makes an object fit its shape, as [`conform`](super::conform) does, as long as nothing has to be told about it; false
/// when something has, and then parts of it may have been settled already.
pub fn settle(object: &mut Object, schema: &SchemaRef) -> bool {
    match schema {
        SchemaRef::Static(schema) => entries(object.map_mut(), schema.fields(), true).is_ok(),
        SchemaRef::Shared(_) => false,
    }
}

fn settled(value: &mut Value, schema: &'static Schema) -> Settled {
    match (&schema.kind, &mut *value) {
        (Kind::String, Value::String(_)) | (Kind::Boolean, Value::Bool(_)) => Ok(()),
        (Kind::Number, Value::Number(_)) => Ok(()),
        (Kind::IntOrString, Value::String(_)) => Ok(()),
        (Kind::Integer { wide: true }, Value::Number(number)) => fits(number.as_i64().is_some()),
        (Kind::Integer { wide: false } | Kind::IntOrString, Value::Number(number)) => {
            fits(number.as_i64().is_some_and(|number| i32::try_from(number).is_ok()))
        }
        (Kind::Any, _) if schema.name.is_empty() => Ok(()),
        (Kind::Object { fields, .. }, Value::Object(map)) => entries(map, fields, false),
        (Kind::Map { values, .. }, Value::Object(map)) => {
            map.values_mut().try_for_each(|value| item(value, values))
        }
        (Kind::List { items, .. }, Value::Array(list)) => {
            list.iter_mut().try_for_each(|value| item(value, items))
        }
        (Kind::Quantity, Value::String(text)) if Quantity::is_plain(text) => Ok(()),
        (Kind::Quantity, Value::String(_) | Value::Number(_)) => {
            let quantity = Quantity::from_json(value).map_err(|_| Unsettled)?;
            *value = Value::String(quantity.to_string());
            Ok(())
        }
        (Kind::Time { micro }, Value::String(text)) => time(text, *micro),
        (Kind::Bytes, Value::String(text)) => {
            if let Cow::Owned(normal) = scalar::normal_base64(text).map_err(|_| Unsettled)? {
                *text = normal;
            }
            Ok(())
        }
        _ => Err(Unsettled),
    }
}

fn fits(fits: bool) -> Settled {
    if fits { Ok(()) } else { Err(Unsettled) }
}

/// An item of a list or the value of a map, where null stands for the empty value.
fn item(value: &mut Value, schema: &SchemaRef) -> Settled {
    if value.is_null() {
        *value = defaults::item(schema);
        return Ok(());
    }
    settled(value, known(schema)?)
}

fn known(schema: &SchemaRef) -> Result<&'static Schema, Unsettled> {
    match schema {
        SchemaRef::Static(schema) => Ok(schema),
        SchemaRef::Shared(_) => Err(Unsettled),
    }
}

/// Both the map and its fields are sorted by name, so that one walk along them finds what belongs together.
fn entries(map: &mut Map<String, Value>, fields: &[Field], top: bool) -> Settled {
    let mut rest = fields.iter();
    let (mut lost, mut incomplete) = (false, false);
    for (key, value) in map.iter_mut() {
        if top && matches!(key.as_str(), "apiVersion" | "kind") {
            continue;
        }
        let field = loop {
            let field = rest.next().ok_or(Unsettled)?;
            if *field.name == **key {
                break field;
            }
            incomplete |= is_filled(field);
        };
        if value.is_null() {
            let stays = field.default.is_none() && defaults::zero(&field.schema).is_null();
            match field.presence {
                Presence::Null if field.default.is_none() => {}
                Presence::Always if stays => {}
                _ => (lost, incomplete) = (true, true),
            }
            continue;
        }
        settled(value, known(&field.schema)?)?;
        if defaults::is_lost(value, field) {
            // An empty list of managers asks to forget them all.
            fits(&*field.name != "managedFields")?;
            *value = Value::Null;
            (lost, incomplete) = (true, true);
        }
        let empty = || field.presence == Presence::Always && defaults::is_empty(value);
        incomplete |= field.default.is_some() && empty();
    }
    if lost {
        map.retain(|_, value| !value.is_null());
    }
    if incomplete || rest.any(is_filled) {
        defaults::fill(map, fields);
    }
    Ok(())
}

/// Whether the field is written when it is missing.
fn is_filled(field: &Field) -> bool {
    matches!(field.presence, Presence::Always | Presence::Null) || field.default.is_some()
}

fn time(text: &mut String, micro: bool) -> Settled {
    if !micro && is_plain_time(text.as_bytes()) {
        return Ok(());
    }
    // Go's zero time is written as null.
    *text = scalar::normal_time(text, micro).ok().flatten().ok_or(Unsettled)?;
    Ok(())
}

/// Whole seconds in UTC on a day that every month has.
fn is_plain_time(text: &[u8]) -> bool {
    let [
        y0,
        y1,
        y2,
        y3,
        b'-',
        m0,
        m1,
        b'-',
        d0,
        d1,
        b'T',
        h0,
        h1,
        b':',
        n0,
        n1,
        b':',
        s0,
        s1,
        b'Z',
    ] = text
    else {
        return false;
    };
    let within = |tens: &u8, ones: &u8, low: u8, high: u8| {
        let digits = tens.is_ascii_digit() && ones.is_ascii_digit();
        digits && (low..=high).contains(&((tens - b'0') * 10 + (ones - b'0')))
    };
    let year = [*y0, *y1, *y2, *y3];
    year.iter().all(u8::is_ascii_digit)
        && *y0 != b'0'
        && within(m0, m1, 1, 12)
        && within(d0, d1, 1, 28)
        && within(h0, h1, 0, 23)
        && within(n0, n1, 0, 59)
        && within(s0, s1, 0, 59)
}
