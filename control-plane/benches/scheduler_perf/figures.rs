//! What is told of a run, and of several.
#![expect(clippy::cast_precision_loss, reason = "rates are fractions")]

use super::run::Measured;

const PERCENTILES: [usize; 4] = [50, 90, 95, 99];

/// The figures of one run, or of several: whole, average and percentiles.
pub(crate) type Figures = [Option<f64>; 2 + PERCENTILES.len()];

pub(crate) fn figures(own: &Measured) -> Figures {
    let mut figures = [None; 2 + PERCENTILES.len()];
    figures[0] = Some(own.pods as f64 / own.placed.as_secs_f64());
    figures[1] = own.rates.average();
    for (figure, percent) in figures[2..].iter_mut().zip(PERCENTILES) {
        *figure = own.rates.percentile(percent);
    }
    figures
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    let upper = *values.get(middle)?;
    let is_between = values.len().is_multiple_of(2);
    Some(if is_between { f64::midpoint(values[middle - 1], upper) } else { upper })
}

pub(crate) fn medians(runs: &[Figures]) -> Figures {
    std::array::from_fn(|index| median(runs.iter().filter_map(|own| own[index]).collect()))
}

pub(crate) fn told(figures: &Figures) -> String {
    let number = |own: Option<f64>| own.map_or_else(|| "-".to_owned(), |own| format!("{own:.0}"));
    let percentiles = PERCENTILES.iter().zip(&figures[2..]);
    let percentiles: Vec<_> =
        percentiles.map(|(percent, own)| format!("p{percent} {:>6}", number(*own))).collect();
    format!(
        "pods/s whole {:>6} average {:>6} {}",
        number(figures[0]),
        number(figures[1]),
        percentiles.join(" ")
    )
}
