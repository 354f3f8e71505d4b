//! Functions of lists and sets.

use super::{Function, Out, fails, int, operators, overload};
use crate::{
    fault::Fault,
    value::{List, Value},
};
use std::cmp::Ordering;

/// The longest list that is made from a number, longer than anyone could pay for.
const LONGEST_RANGE: i64 = 1_000_000;
/// The longest list that is made of the items of others, as many as anyone could pay for looking at.
const LONGEST_FLAT: usize = 1_000_000;

pub(super) fn named(name: &str) -> Option<Function> {
    Some(match name {
        "isSorted" => is_sorted,
        "sum" => sum,
        "min" => |args| extreme(args, "min", Ordering::Greater),
        "max" => |args| extreme(args, "max", Ordering::Less),
        "distinct" => distinct,
        "flatten" => flatten,
        "reverse" => reverse,
        "slice" => slice,
        "sort" => |args| {
            Ok(sorted(list(args, 0)?.iter().map(|item| (item.clone(), item)).collect())?.into())
        },
        "@sortByAssociatedKeys" => sort_by_keys,
        "lists.range" => range,
        "first" => |args| Ok(Value::Optional(list(args, 0)?.get(0).map(Into::into))),
        "last" => |args| {
            let list = list(args, 0)?;
            Ok(Value::Optional(
                list.len().checked_sub(1).and_then(|at| list.get(at)).map(Into::into),
            ))
        },
        "sets.contains" => |args| {
            let (all, some) = (list(args, 0)?, list(args, 1)?);
            Ok(Value::Bool(some.iter().all(|item| all.contains(&item))))
        },
        "sets.equivalent" => |args| {
            let (a, b) = (list(args, 0)?, list(args, 1)?);
            let within = |a: &List<'_>, b: &List<'_>| a.iter().all(|item| b.contains(&item));
            Ok(Value::Bool(within(a, b) && within(b, a)))
        },
        "sets.intersects" => |args| {
            let (a, b) = (list(args, 0)?, list(args, 1)?);
            Ok(Value::Bool(a.iter().any(|item| b.contains(&item))))
        },
        _ => return None,
    })
}

fn list<'v, 'a>(args: &'v [Value<'a>], index: usize) -> Result<&'v List<'a>, Fault> {
    match args.get(index) {
        Some(Value::List(list)) => Ok(list),
        _ => overload(),
    }
}

pub(super) fn position<'a>(args: &[Value<'a>], last: bool) -> Out<'a> {
    let list = list(args, 0)?;
    let is_it = |at: &usize| list.get(*at).is_some_and(|item| item.equals(&args[1]));
    let found = match last {
        true => (0..list.len()).rev().find(is_it),
        false => (0..list.len()).find(is_it),
    };
    Ok(Value::Int(found.and_then(|at| i64::try_from(at).ok()).unwrap_or(-1)))
}

fn is_sorted<'a>(args: &[Value<'a>]) -> Out<'a> {
    let mut before: Option<Value<'a>> = None;
    for item in list(args, 0)?.iter() {
        if let Some(before) = &before
            && before.compare(&item) == Some(Ordering::Greater)
        {
            return Ok(Value::Bool(false));
        }
        before = Some(item);
    }
    Ok(Value::Bool(true))
}

fn sum<'a>(args: &[Value<'a>]) -> Out<'a> {
    let mut items = list(args, 0)?.iter();
    let Some(mut total) = items.next() else { return Ok(Value::Int(0)) };
    for item in items {
        total = operators::add(&total, &item)?;
    }
    Ok(total)
}

fn extreme<'a>(args: &[Value<'a>], name: &str, loses: Ordering) -> Out<'a> {
    let mut items = list(args, 0)?.iter();
    let Some(mut found) = items.next() else {
        return fails(format!("{name} called on empty list"));
    };
    for item in items {
        if found.compare(&item) == Some(loses) {
            found = item;
        }
    }
    Ok(found)
}

fn distinct<'a>(args: &[Value<'a>]) -> Out<'a> {
    let mut kept: Vec<Value<'a>> = Vec::new();
    for item in list(args, 0)?.iter() {
        if !kept.iter().any(|had| had.equals(&item)) {
            kept.push(item);
        }
    }
    Ok(kept.into())
}

fn flatten<'a>(args: &[Value<'a>]) -> Out<'a> {
    let depth = if args.len() > 1 { int(args, 1)? } else { 1 };
    if depth < 0 {
        return fails("level must be non-negative");
    }
    fn flat<'a>(list: &List<'a>, depth: i64, out: &mut Vec<Value<'a>>) -> Result<(), Fault> {
        for item in list.iter() {
            match item {
                Value::List(inner) if depth > 0 => flat(&inner, depth - 1, out)?,
                // One list may stand in another very often.
                _ if out.len() >= LONGEST_FLAT => return Err(Fault::Spent),
                other => out.push(other),
            }
        }
        Ok(())
    }
    let mut out = Vec::new();
    flat(list(args, 0)?, depth, &mut out)?;
    Ok(out.into())
}

fn reverse<'a>(args: &[Value<'a>]) -> Out<'a> {
    let mut items: Vec<Value<'a>> = list(args, 0)?.iter().collect();
    items.reverse();
    Ok(items.into())
}

fn slice<'a>(args: &[Value<'a>]) -> Out<'a> {
    let (list, start, end) = (list(args, 0)?, int(args, 1)?, int(args, 2)?);
    let length = i64::try_from(list.len()).unwrap_or(i64::MAX);
    if start < 0 || end < 0 {
        return fails(format!("cannot slice({start}, {end}), negative indexes not supported"));
    }
    if start > end {
        return fails(format!(
            "cannot slice({start}, {end}), start index must be less than or equal to end index"
        ));
    }
    if length < end {
        return fails(format!("cannot slice({start}, {end}), list is length {length}"));
    }
    let (start, end) = (usize::try_from(start), usize::try_from(end));
    let (start, end) = (start.unwrap_or_default(), end.unwrap_or_default());
    Ok(list.iter().skip(start).take(end - start).collect::<Vec<_>>().into())
}

/// The second of each pair, by the order of the first.
fn sorted<'a>(mut pairs: Vec<(Value<'a>, Value<'a>)>) -> Result<Vec<Value<'a>>, Fault> {
    if let Some((first, _)) = pairs.first() {
        let of = first.type_of();
        if first.compare(first).is_none() {
            return fails("list elements must be comparable");
        }
        if pairs.iter().any(|(key, _)| !key.type_of().is(&of)) {
            return fails("list elements must have the same type");
        }
    }
    pairs.sort_by(|(a, _), (b, _)| a.compare(b).unwrap_or(Ordering::Equal));
    Ok(pairs.into_iter().map(|(_, item)| item).collect())
}

fn sort_by_keys<'a>(args: &[Value<'a>]) -> Out<'a> {
    let (items, keys) = (list(args, 0)?, list(args, 1)?);
    if items.len() != keys.len() {
        return fails(format!(
            "@sortByAssociatedKeys() expected a list of the same size as the associated keys list, but got {} and {} elements respectively",
            items.len(),
            keys.len()
        ));
    }
    Ok(sorted(keys.iter().zip(items.iter()).collect())?.into())
}

fn range<'a>(args: &[Value<'a>]) -> Out<'a> {
    let count = int(args, 0)?;
    if count > LONGEST_RANGE {
        return Err(Fault::Spent);
    }
    Ok((0..count.max(0)).map(Value::Int).collect::<Vec<_>>().into())
}
