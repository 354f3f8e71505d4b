//! What calls cost at most, and how large what they return can be.

use super::{Coster, Node, is_logical};
use crate::{
    ast::{Expr, Kind, Literal, op},
    bounds::{Bounds, CHECK, LIST, PATTERN, TRAVERSAL, selector},
    types::Type,
};

/// The longest pattern a named format has.
const FORMAT_PATTERN: f64 = 128.0;
/// The largest format.
const FORMAT_SIZE: u64 = 64;

pub(super) struct Call<'c, 'e> {
    pub(super) expr: &'e Expr,
    pub(super) name: &'c str,
    pub(super) form: &'c str,
    pub(super) target: Option<&'c Node<'e>>,
    pub(super) args: &'c [Node<'e>],
    pub(super) costs: &'c [Bounds],
}

type Cost = (Bounds, Option<Bounds>);

fn plain(cost: Bounds) -> Option<Cost> {
    Some((cost, None))
}

fn sized(cost: Bounds, size: Bounds) -> Option<Cost> {
    Some((cost, Some(size)))
}

impl Coster<'_> {
    /// The cost of a call with its arguments, and the size of what it returns.
    pub(super) fn call_cost(&mut self, call: &Call<'_, '_>) -> Cost {
        let args = call.costs.iter().fold(Bounds::ZERO, |sum, cost| sum.plus(*cost));
        if is_logical(call.name)
            && let [left, right] = call.costs
        {
            let cost = Bounds { min: left.min, max: left.plus(*right).max };
            return (cost, None);
        }
        if call.name == op::CONDITIONAL
            && let ([condition, yes, no], [_, of_yes, of_no]) = (call.costs, call.args)
        {
            let size = or_unknown(of_yes).or(or_unknown(of_no));
            let entries = |coster: &Self, node: &Node<'_>| coster.entries_of(node.expr?);
            if let (Some(a), Some(b)) = (entries(self, of_yes), entries(self, of_no)) {
                self.entries.insert(call.expr.id, a.or(b));
            }
            return (condition.plus(yes.or(*no)), Some(size));
        }
        let own = self
            .of_lists(call)
            .or_else(|| self.of_library(call))
            .or_else(|| self.of_language(call));
        let (cost, size) = own.unwrap_or((Bounds::ONE, None));
        (cost.plus(args), size)
    }

    /// The size of a node as the functions of Kubernetes see it.
    fn estimated(&self, node: &Node<'_>) -> Bounds {
        node.derived.or_else(|| self.size_at(&node.path)).unwrap_or(Bounds::UNKNOWN)
    }

    /// The items of a list that a node is.
    fn items<'e>(&self, list: &Node<'_>) -> Option<Node<'e>> {
        let of = list.of.params().first().map(|of| Type::clone(of))?;
        let path = match list.path.is_empty() {
            true => list.path.clone(),
            false => list.path.copied("@items".into()),
        };
        Some(Node { path, of, expr: None, derived: None })
    }

    /// Functions of lists and sets, which count by their form.
    fn of_lists(&self, call: &Call<'_, '_>) -> Option<Cost> {
        let literal = |index: usize, other: u64| match call
            .args
            .get(index)
            .and_then(|node| node.expr)
            .map(|expr| &expr.kind)
        {
            Some(Kind::Literal(Literal::Int(value))) => u64::try_from(*value).unwrap_or(0),
            Some(Kind::Literal(Literal::Uint(value))) => *value,
            _ => other,
        };
        let made = |size: Bounds, factor: f64| {
            sized(size.scaled(factor).plus(Bounds::exactly(LIST + 1)), size)
        };
        let pairs = |node: &Node<'_>, text: bool| {
            let size = self.estimated(node);
            made(size.times(size), if text { 2.0 + TRAVERSAL } else { 2.0 })
        };
        let is_text = call.form.starts_with("list_string") || call.form.starts_with("list_bytes");
        match call.form {
            "list_slice" => {
                let most = self.estimated(call.target?).max;
                let length = literal(1, most).wrapping_sub(literal(0, 0));
                made(Bounds::exactly(length), 1.0)
            }
            "lists_range" => made(Bounds::exactly(literal(0, u64::MAX)), 1.0),
            "list_reverse" => made(self.estimated(call.target?), 1.0),
            #[expect(clippy::cast_precision_loss, reason = "so does the original")]
            "list_flatten" | "list_flatten_int" => {
                let depth = if call.args.is_empty() { 1 } else { literal(0, u64::MAX) };
                made(self.estimated(call.target?), depth as f64)
            }
            "list_distinct" => pairs(call.target?, false),
            form if form.ends_with("_sort") => pairs(call.target?, is_text),
            form if form.ends_with("_sortByAssociatedKeys") => pairs(call.args.first()?, is_text),
            form if form.starts_with("list_sets_") => {
                let [left, right] = call.args else { return None };
                let times = if form == "list_sets_equivalent_list" { 2.0 } else { 1.0 };
                let size = self.estimated(left).times(self.estimated(right));
                plain(size.scaled(times).plus(Bounds::ONE))
            }
            _ => None,
        }
    }

    fn of_library(&self, call: &Call<'_, '_>) -> Option<Cost> {
        let (target, first) = (call.target, call.args.first());
        let traversed = |node: Option<&Node<'_>>| {
            node.map(|node| (self.estimated(node).scaled(TRAVERSAL), self.estimated(node)))
        };
        match call.name {
            "check" => plain(Bounds::exactly(CHECK)),
            "fieldSelector" | "labelSelector" => plain(selector(self.estimated(first?))),
            "isSorted" | "sum" | "max" | "min" | "indexOf" | "lastIndexOf" => {
                let target = target?;
                let size = self.estimated(target);
                let Some(items) = self.items(target) else { return plain(size.scaled(TRAVERSAL)) };
                let each = match items.of {
                    Type::String | Type::Bytes => self.estimated(&items).scaled(TRAVERSAL),
                    _ => Bounds::ZERO,
                };
                plain(size.times(each.plus(Bounds::ONE)))
            }
            "url" | "jsonpatch.escapeKey" if call.args.len() == 1 => {
                let (cost, size) = traversed(first)?;
                sized(cost, size)
            }
            "lowerAscii" | "upperAscii" | "substring" | "trim" => {
                let (cost, size) = traversed(target)?;
                sized(cost, size)
            }
            "replace" => self.replaced(call),
            "split" => {
                let size = self.estimated(target?);
                let most = match call.args.get(1).and_then(|node| node.expr).map(|expr| &expr.kind)
                {
                    #[expect(clippy::cast_sign_loss, reason = "so does the original")]
                    Some(Kind::Literal(Literal::Int(most))) => *most as u64,
                    _ => size.max,
                };
                sized(size.scaled(2.0 * TRAVERSAL), Bounds { min: 0, max: most })
            }
            "join" => self.joined(call),
            "find" | "findAll" => {
                let size = self.estimated(target?);
                let pattern = self.estimated(first?).scaled(PATTERN);
                let cost = size.plus(Bounds::ONE).scaled(TRAVERSAL).times(pattern);
                sized(cost, Bounds { min: 0, max: size.max })
            }
            "ip" if call.form == "cidr_ip" => plain(Bounds::ONE),
            "cidr" | "isIP" | "isCIDR" | "ip" | "quantity" | "isQuantity" | "semver"
            | "isSemver" => traversed(first).and_then(|(cost, _)| plain(cost)),
            "ip.isCanonical" => plain(self.estimated(first?).scaled(2.0 * TRAVERSAL)),
            "containsIP" | "containsCIDR" => self.contained(call),
            "validate" => {
                let cost = self.estimated(first?).scaled(TRAVERSAL);
                plain(cost.scaled(FORMAT_PATTERN * PATTERN))
            }
            op::EQUALS => Self::equality(call),
            name if is_nominal(name) => plain(Bounds::ONE),
            _ => None,
        }
    }

    fn replaced(&self, call: &Call<'_, '_>) -> Option<Cost> {
        let [from, to, ..] = call.args else { return None };
        let size = self.estimated(call.target?);
        let (from, to) = (self.estimated(from), self.estimated(to));
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "the original counts in floating point too"
        )]
        let times = |size: u64, part: u64| (size as f64 / part as f64).ceil() as u64;
        // The longest result: as many replacements of as little as possible.
        let (most, kept_most) = match () {
            () if from.min == 0 => (size.max.saturating_add(1), size.max),
            () if to.max <= from.min => (0, size.max),
            () => (times(size.max, from.min), 0),
        };
        let (least, kept_least) = match () {
            () if from.max == 0 => (size.min.saturating_add(1), size.min),
            () if from.max <= to.min => (0, size.min),
            () => (times(size.min, from.max), 0),
        };
        let result = Bounds { min: least, max: most }
            .times(to)
            .plus(Bounds { min: kept_least, max: kept_most });
        sized(size.scaled(2.0 * TRAVERSAL), result)
    }

    fn joined(&self, call: &Call<'_, '_>) -> Option<Cost> {
        let list = call.target?;
        let count = self.estimated(list);
        let items = self.items(list).map(|items| self.estimated(&items));
        let mut size = items.map_or(Bounds::ZERO, |items| count.times(items));
        if let Some(between) = call.args.first() {
            let gaps =
                Bounds { min: count.min.saturating_sub(1), max: count.max.saturating_sub(1) };
            size = size.plus(self.estimated(between).times(gaps));
        }
        sized(size.scaled(TRAVERSAL), size)
    }

    fn contained(&self, call: &Call<'_, '_>) -> Option<Cost> {
        let first = call.args.first()?;
        let address = Bounds { min: 4, max: 16 };
        let mut cost = address.plus(address).scaled(TRAVERSAL);
        if call.name == "containsCIDR" {
            cost = cost.plus(address.scaled(TRAVERSAL)).plus(Bounds::ONE);
        }
        if matches!(call.form, "cidr_contains_ip_string" | "cidr_contains_cidr_string") {
            cost = cost.plus(self.estimated(first).scaled(TRAVERSAL));
        }
        plain(cost)
    }

    fn equality(call: &Call<'_, '_>) -> Option<Cost> {
        let [left, right] = call.args else { return None };
        let Type::Opaque(name, _) = &left.of else { return None };
        if !left.of.is(&right.of) {
            return None;
        }
        match &**name {
            "kubernetes.NamedFormat" => {
                plain(Bounds { min: 1, max: FORMAT_SIZE }.scaled(TRAVERSAL))
            }
            "kubernetes.URL" => {
                let most = right.derived.map_or(1, |size| size.max);
                plain(Bounds { min: 1, max: most }.scaled(TRAVERSAL))
            }
            "optional_type" => None,
            _ => plain(Bounds::ONE),
        }
    }

    fn of_language(&mut self, call: &Call<'_, '_>) -> Option<Cost> {
        let first = || call.args.first().map(or_unknown);
        match call.form {
            "string_format" => plain(or_unknown(call.target?).scaled(TRAVERSAL)),
            "string_to_bytes" => {
                let size = first()?;
                let result = Bounds { min: size.min, max: size.max.wrapping_mul(4) };
                sized(size.scaled(TRAVERSAL), result)
            }
            "bytes_to_string" => {
                let size = first()?;
                sized(size.scaled(TRAVERSAL), Bounds { min: size.min / 4, max: size.max })
            }
            "strings_quote" => {
                let size = first()?;
                let max = size.max.wrapping_mul(2).wrapping_add(2);
                sized(size.scaled(TRAVERSAL), Bounds { min: size.min.wrapping_add(2), max })
            }
            "starts_with_string" | "ends_with_string" => plain(first()?.scaled(TRAVERSAL)),
            "in_list" => plain(or_unknown(call.args.get(1)?).scaled(1.0)),
            "matches_string" => {
                let text = or_unknown(call.target?).plus(Bounds::ONE).scaled(TRAVERSAL);
                plain(text.times(first()?.scaled(PATTERN)))
            }
            "contains_string" => {
                plain(or_unknown(call.target?).scaled(TRAVERSAL).times(first()?.scaled(TRAVERSAL)))
            }
            "add_string" | "add_bytes" | "add_list" => self.added(call),
            form if is_comparison(form) => {
                let [left, right] = call.args else { return None };
                let most = or_unknown(left).max.min(or_unknown(right).max);
                plain(Bounds { min: u64::from(most > 0), max: most }.scaled(TRAVERSAL))
            }
            _ => None,
        }
    }

    fn added(&mut self, call: &Call<'_, '_>) -> Option<Cost> {
        let [left, right] = call.args else { return None };
        let size = or_unknown(left).plus(or_unknown(right));
        let entries = |node: &Node<'_>| self.entries_of(node.expr?);
        if let (Some(a), Some(b)) = (entries(left), entries(right)) {
            self.entries.insert(call.expr.id, a.or(b));
        }
        match call.form {
            "add_list" => sized(Bounds::ONE, size),
            _ => sized(size.scaled(TRAVERSAL), size),
        }
    }
}

fn or_unknown(node: &Node<'_>) -> Bounds {
    node.derived.unwrap_or(Bounds::UNKNOWN)
}

/// Comparisons that look at the shorter one as a whole.
pub(crate) fn is_comparison(form: &str) -> bool {
    matches!(
        form,
        "less_string"
            | "greater_string"
            | "less_equals_string"
            | "greater_equals_string"
            | "less_bytes"
            | "greater_bytes"
            | "less_equals_bytes"
            | "greater_equals_bytes"
            | "equals"
            | "not_equals"
    )
}

/// Functions that cost one unit whatever they are called with.
pub(crate) fn is_nominal(name: &str) -> bool {
    matches!(
        name,
        "serviceAccount"
            | "path"
            | "group"
            | "resource"
            | "subresource"
            | "namespace"
            | "name"
            | "allowed"
            | "reason"
            | "error"
            | "errored"
            | "masked"
            | "prefixLength"
            | "family"
            | "isUnspecified"
            | "isLoopback"
            | "isLinkLocalMulticast"
            | "isLinkLocalUnicast"
            | "isGlobalUnicast"
            | "format.named"
            | "sign"
            | "asInteger"
            | "isInteger"
            | "asApproximateFloat"
            | "isGreaterThan"
            | "isLessThan"
            | "compareTo"
            | "add"
            | "sub"
            | "major"
            | "minor"
            | "patch"
            | "getScheme"
            | "getHostname"
            | "getHost"
            | "getPort"
            | "getEscapedPath"
            | "getQuery"
    )
}
