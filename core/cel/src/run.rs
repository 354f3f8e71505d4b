//! Runs plans, and counts what that costs.

mod loops;

use crate::{
    bounds::{LIST, MAP, STRUCT},
    fault::Fault,
    library::{map_of, regex},
    plan::{Base, Call, Node, Path, Plan, Step},
    value::{Key, List, Map, Value},
};
use std::{collections::BTreeMap, sync::Arc};

type Outcome<'a> = Result<Value<'a>, Fault>;

/// How many bytes may be made by calls that cost little however much they make. Joining lists costs one, and they are copied
/// here: a list that is joined with itself again and again would soon be all the memory there is.
const MADE: usize = 64 << 20;

/// What a plan is run over.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Input<'r, 'a> {
    /// The values of the plan's variables.
    pub(crate) globals: &'r [Option<Value<'a>>],
    /// The variable whose missing fields are asked for.
    pub(crate) on_demand: Option<usize>,
    /// What it may cost.
    pub(crate) limit: u64,
}

/// Runs a plan; what it cost comes with it.
pub(crate) fn run<'a>(plan: &Plan, input: Input<'_, 'a>) -> (Outcome<'a>, u64) {
    let locals = (0..plan.locals).map(|_| Slot::Empty).collect();
    let mut run = Run { input, locals, cost: 0, made: 0 };
    let result = run.node(&plan.root);
    (result, run.cost)
}

/// A value that a loop keeps.
enum Slot<'p, 'a> {
    Empty,
    /// Made when it is asked for first.
    Lazy(&'p Node),
    Value(Outcome<'a>),
}

struct Run<'r, 'p, 'a> {
    input: Input<'r, 'a>,
    locals: Vec<Slot<'p, 'a>>,
    cost: u64,
    /// The bytes that were made by calls that cost little.
    made: usize,
}

impl<'p, 'a> Run<'_, 'p, 'a> {
    fn spend(&mut self, units: u64) -> Result<(), Fault> {
        self.cost = self.cost.saturating_add(units);
        if self.cost > self.input.limit { Err(Fault::Spent) } else { Ok(()) }
    }

    /// Notes the memory of what a call has made.
    fn keep(&mut self, made: Option<&Value<'a>>) -> Result<(), Fault> {
        let bytes = match made {
            Some(Value::List(list)) => list.len() * size_of::<Value<'a>>(),
            Some(Value::String(text)) => text.as_str().len(),
            _ => 0,
        };
        self.made = self.made.saturating_add(bytes);
        if self.made > MADE { Err(Fault::Spent) } else { Ok(()) }
    }

    fn node(&mut self, node: &'p Node) -> Outcome<'a> {
        match node {
            Node::Const(value) => Ok(value.clone()),
            Node::Path(path) => {
                let result = self.path(path);
                if result.as_ref().is_err_and(Fault::ends) {
                    return result;
                }
                if is_charged(path) {
                    self.spend(1)?;
                }
                result
            }
            Node::Call(call) => self.call(call),
            Node::And(terms) => self.logical(terms, false),
            Node::Or(terms) => self.logical(terms, true),
            Node::List { elements, optional } => {
                let result = self.elements(elements, optional);
                self.constructed(result, LIST)
            }
            Node::Map(entries) => {
                let result = self.entries(entries);
                self.constructed(result, MAP)
            }
            Node::Struct(name, fields) => {
                let result = self.fields(name, fields);
                self.constructed(result, STRUCT)
            }
            Node::Loop(of) => self.looped(of),
            Node::Among(value, items) => {
                let value = self.node(value)?;
                Ok(Value::Bool(items.iter().any(|item| value.equals(item))))
            }
            Node::Otherwise { optional, other, unwrap } => match self.node(optional)? {
                Value::Optional(Some(inner)) if *unwrap => Ok(Value::clone(&inner)),
                found @ Value::Optional(Some(_)) => Ok(found),
                Value::Optional(None) => self.node(other),
                found => Ok(found),
            },
            Node::Append { slot, item } => self.append(*slot, item),
            Node::Insert { slot, entry } => self.insert(*slot, entry),
        }
    }

    /// What was put together costs the same when it failed.
    fn constructed(&mut self, result: Outcome<'a>, units: u64) -> Outcome<'a> {
        if !result.as_ref().is_err_and(Fault::ends) {
            self.spend(units)?;
        }
        result
    }

    fn call(&mut self, call: &'p Call) -> Outcome<'a> {
        let count = call.args.len();
        let mut values: Vec<Value<'a>> = Vec::with_capacity(count);
        let mut failed = None;
        for (index, argument) in call.args.iter().enumerate() {
            match self.node(argument) {
                Ok(value) => values.push(value),
                Err(fault) if fault.ends() => return Err(fault),
                // Whether it failed is what this one asks.
                Err(_) if &*call.name == crate::ast::op::NOT_STRICTLY_FALSE => {
                    self.spend(1)?;
                    return Ok(Value::Bool(true));
                }
                // What takes all its arguments at once does not look at those after one that failed.
                Err(fault) if index + 1 < count && (count > 2 || &*call.name == "format") => {
                    return Err(fault);
                }
                Err(fault) => {
                    failed.get_or_insert((index, fault));
                    values.push(Value::Null);
                }
            }
        }
        if failed.is_none() && call.charge.comes_first() {
            let args: Vec<_> = values.iter().map(Some).collect();
            self.spend(call.charge.cost(&args, None))?;
            return (call.function)(&values);
        }
        let result = match (&failed, &call.pattern) {
            (Some((_, fault)), _) => Err(fault.clone()),
            (None, Some(pattern)) => regex::with(&call.name, pattern, &values),
            (None, None) => (call.function)(&values),
        };
        if call.charge.is_cheap(&call.name) {
            self.keep(result.as_ref().ok())?;
        }
        if result.as_ref().is_err_and(Fault::ends) {
            return result;
        }
        let units = match (&failed, values.as_slice()) {
            (None, [one]) => call.charge.cost(&[Some(one)], result.as_ref().ok()),
            (None, [one, two]) => call.charge.cost(&[Some(one), Some(two)], result.as_ref().ok()),
            (failed, all) => {
                let broken = failed.as_ref().map(|(index, _)| *index);
                let args: Vec<Option<&Value<'a>>> = all
                    .iter()
                    .enumerate()
                    .map(|(index, value)| (broken != Some(index)).then_some(value))
                    .collect();
                call.charge.cost(&args, result.as_ref().ok())
            }
        };
        self.spend(units)?;
        result
    }

    /// Terms until one decides; one that fails matters only if none does.
    fn logical(&mut self, terms: &'p [Node], decides: bool) -> Outcome<'a> {
        let mut failed = None;
        for term in terms {
            match self.node(term) {
                Ok(Value::Bool(value)) if value == decides => return Ok(Value::Bool(decides)),
                Ok(Value::Bool(_)) => {}
                Ok(_) => {
                    failed.get_or_insert_with(Fault::overload);
                }
                Err(fault) if fault.ends() => return Err(fault),
                Err(fault) => {
                    failed.get_or_insert(fault);
                }
            }
        }
        failed.map_or(Ok(Value::Bool(!decides)), Err)
    }

    fn elements(&mut self, elements: &'p [Node], optional: &[usize]) -> Outcome<'a> {
        let mut items = Vec::with_capacity(elements.len());
        for (index, element) in elements.iter().enumerate() {
            let value = self.node(element)?;
            match optional.contains(&index) {
                true => items.extend(inner(value)?),
                false => items.push(value),
            }
        }
        Ok(items.into())
    }

    fn entries(&mut self, entries: &'p [(Node, Node, bool)]) -> Outcome<'a> {
        let mut made = Vec::with_capacity(entries.len());
        for (key, value, optional) in entries {
            let key = self.node(key)?;
            let value = self.node(value)?;
            let key = key.key().ok_or_else(|| Fault::new("unsupported key type"))?;
            match optional {
                true => made.extend(inner(value)?.map(|value| (key, value))),
                false => made.push((key, value)),
            }
        }
        Ok(map_of(made))
    }

    fn fields(&mut self, name: &Arc<str>, fields: &'p [(Arc<str>, Node, bool)]) -> Outcome<'a> {
        let of = Some(name.clone());
        let mut made = BTreeMap::new();
        for (name, value, optional) in fields {
            let value = self.node(value)?;
            let key = || Key::Text(crate::value::Text::Shared(name.clone()));
            match optional {
                true => made.extend(inner(value)?.map(|value| (key(), value))),
                false => made.extend([(key(), value)]),
            }
        }
        Ok(Value::Map(Map::Shared(Arc::new(made), of)))
    }

    fn path(&mut self, path: &'p Path) -> Outcome<'a> {
        let mut steps = path.steps.as_slice();
        let mut value = match &path.base {
            Base::Global(slot) => {
                let value = self.input.globals.get(*slot).cloned().flatten();
                let value = value.ok_or_else(|| Fault::new("no such attribute(s)"))?;
                if self.input.on_demand == Some(*slot) {
                    self.demanded(&value, steps.first())?;
                }
                value
            }
            Base::Local(slot) => self.local(*slot)?,
            Base::Of(node) => self.node(node)?,
            Base::Either { condition, yes, no } => match self.node(condition)? {
                Value::Bool(true) => self.path(yes)?,
                Value::Bool(false) => self.path(no)?,
                _ => return Err(Fault::overload()),
            },
        };
        let mut optional = false;
        if !steps.is_empty()
            && let Value::Optional(found) = &value
        {
            let Some(inner) = found else { return Ok(value) };
            value = Value::clone(inner);
            optional = true;
        }
        while let Some((step, rest)) = steps.split_first() {
            if let Step::Test(name) = step {
                let there = matches!(&value, Value::Map(map) if map.has(name));
                if there || !optional {
                    self.spend(1)?;
                }
                return Ok(Value::Bool(there));
            }
            optional |= step.is_optional();
            let index = match step {
                Step::By(node, _) => Some(match node {
                    // What is no step of its own costs nothing itself.
                    Node::Path(path) => self.path(path)?,
                    node => self.node(node)?,
                }),
                _ => None,
            };
            let found = qualified(&value, step, index.as_ref());
            if !optional || matches!(found, Ok(Some(_))) {
                self.spend(1)?;
            }
            match found? {
                Some(Value::Failed(why)) => return Err(Fault::Error(why)),
                Some(found) => value = found,
                None if optional => return Ok(Value::Optional(None)),
                None => return Err(missing(&value, step, index.as_ref())),
            }
            steps = rest;
        }
        Ok(if optional { value.some() } else { value })
    }

    /// Asks for a field that is made on demand.
    fn demanded(&self, of: &Value<'a>, step: Option<&Step>) -> Result<(), Fault> {
        let name = match step {
            Some(Step::Field(name, _) | Step::Test(name)) => name.clone(),
            Some(Step::At(Value::String(text), _)) => text.as_str().into(),
            _ => return Ok(()),
        };
        match of {
            Value::Map(map) if map.field(&name).is_none() => Err(Fault::Needs(name)),
            _ => Ok(()),
        }
    }

    fn local(&mut self, slot: usize) -> Outcome<'a> {
        let lazy = match &self.locals[slot] {
            Slot::Empty => return Err(Fault::new("no such attribute(s)")),
            Slot::Value(value) => return value.clone(),
            Slot::Lazy(node) => *node,
        };
        let value = self.node(lazy);
        self.locals[slot] = Slot::Value(value.clone());
        value
    }
}

impl Step {
    fn is_optional(&self) -> bool {
        match self {
            Self::Field(_, optional) | Self::At(_, optional) | Self::By(_, optional) => *optional,
            Self::Test(_) => false,
        }
    }
}

/// Whether a path costs a unit as a step of its own: a choice is paid for by its parts, and so is the question whether a
/// field is there.
fn is_charged(path: &Path) -> bool {
    let is_choice = matches!(path.base, Base::Either { .. });
    !is_choice && !matches!(path.steps.last(), Some(Step::Test(_)))
}

/// The value inside of an optional.
fn inner<'a>(value: Value<'a>) -> Result<Option<Value<'a>>, Fault> {
    match value {
        Value::Optional(inner) => Ok(inner.map(|inner| Value::clone(&inner))),
        other => {
            let of = other.type_of();
            Err(Fault::new(format!(
                "cannot initialize optional list element from non-optional value {}",
                of.name()
            )))
        }
    }
}

/// What a step leads to; `None` where nothing is there.
fn qualified<'a>(
    value: &Value<'a>,
    step: &Step,
    index: Option<&Value<'a>>,
) -> Result<Option<Value<'a>>, Fault> {
    match step {
        Step::Field(name, _) | Step::Test(name) => Ok(match value {
            Value::Map(map) => map.field(name),
            _ => None,
        }),
        Step::At(index, _) => at(value, index),
        Step::By(..) => index.map_or(Ok(None), |index| at(value, index)),
    }
}

fn at<'a>(value: &Value<'a>, index: &Value<'a>) -> Result<Option<Value<'a>>, Fault> {
    match value {
        Value::Map(map) => match index.key() {
            Some(key) => Ok(map.get(&key)),
            None => Ok(None),
        },
        Value::List(list) => Ok(position(list, index)?.and_then(|index| list.get(index))),
        _ => Ok(None),
    }
}

/// The index as a number, if it is within the list.
fn position(list: &List<'_>, index: &Value<'_>) -> Result<Option<usize>, Fault> {
    match index {
        Value::Int(_) | Value::Uint(_) | Value::Double(_) => match index.key() {
            Some(Key::Number(number, _)) => {
                Ok(usize::try_from(number).ok().filter(|at| *at < list.len()))
            }
            _ => Err(Fault::new(format!("unsupported index value {}", shown(index)))),
        },
        other => {
            let of = other.type_of();
            Err(Fault::new(format!("unsupported index type '{}' in list", of.name())))
        }
    }
}

fn missing(value: &Value<'_>, step: &Step, index: Option<&Value<'_>>) -> Fault {
    let index = match step {
        Step::Field(name, _) | Step::Test(name) => {
            return Fault::new(format!("no such key: {name}"));
        }
        Step::At(index, _) => shown(index),
        Step::By(..) => index.map(shown).unwrap_or_default(),
    };
    match value {
        Value::List(_) => Fault::new(format!("index out of bounds: {index}")),
        _ => Fault::new(format!("no such key: {index}")),
    }
}

/// A value in messages.
fn shown(value: &Value<'_>) -> String {
    match value {
        Value::String(text) => text.as_str().to_owned(),
        other => other.to_json().map(|json| json.to_string()).unwrap_or_default(),
    }
}
