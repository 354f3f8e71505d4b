use super::*;
use proptest::prelude::*;

fn canonical(text: &str) -> String {
    Quantity::parse(text).unwrap().to_string()
}

#[test]
fn products_keep_the_first_ones_format() {
    let times = |a: &str, b: &str| {
        let parse = |text: &str| Quantity::parse(text).unwrap();
        parse(a).times(&parse(b)).to_string()
    };
    assert_eq!(times("8", "2"), "16");
    assert_eq!(times("4Gi", "500m"), "2Gi");
    assert_eq!(times("2", "2Gi"), "4294967296");
    assert_eq!(times("1m", "1m"), "1u");
    assert_eq!(times("1n", "1m"), "1n", "no finer than that");
}

#[test]
fn prints_canonically() {
    for (text, want) in [
        ("0", "0"),
        ("0m", "0"),
        ("0Ki", "0"),
        ("1", "1"),
        ("100m", "100m"),
        ("1000m", "1"),
        ("1.5", "1500m"),
        ("1.5Gi", "1536Mi"),
        ("1024", "1024"),
        ("1024Ki", "1Mi"),
        ("1025Ki", "1025Ki"),
        ("0.5Mi", "512Ki"),
        ("12e6", "12e6"),
        ("1000e3", "1e6"),
        ("1e1", "10"),
        ("0.1n", "1n"),
        ("1.1n", "2n"),
        ("-1.5", "-1500m"),
        ("2000", "2k"),
        ("1000k", "1M"),
        ("1.001", "1.001"),
        ("+1", "+1"),
        ("9999Ei", "9223372036854775807"),
        ("100Ki", "100Ki"),
        ("512", "512"),
        ("0.1Ki", "102400m"),
        ("1E", "1E"),
        ("0.0001", "100u"),
        (".5", "500m"),
        ("1.", "1."),
        ("1.Gi", "1.Gi"),
        ("1e-3", "1e-3"),
        ("99999999999999999999", "99999999999999999999"),
    ] {
        assert_eq!(canonical(text), want, "{text}");
    }
}

#[test]
fn refuses_what_is_no_quantity() {
    for (text, want) in [
        ("", QuantityError::Format),
        ("1x", QuantityError::Format),
        ("1 Gi", QuantityError::Format),
        ("1.1.M", QuantityError::Format),
        ("1Kii", QuantityError::Suffix),
        ("1K", QuantityError::Suffix),
        ("1m1", QuantityError::Suffix),
        ("1e", QuantityError::Suffix),
    ] {
        assert_eq!(Quantity::parse(text).unwrap_err(), want, "{text}");
    }
}

#[test]
fn calculates_exactly() {
    let mut sum = Quantity::default();
    for text in ["100m", "0.9", "1Ki"] {
        sum.add(&text.parse().unwrap());
    }
    assert_eq!(
        (sum.to_string().as_str(), sum.value(), sum.milli_value()),
        ("1025", 1025, 1_025_000)
    );
    sum.sub(&"1.5".parse().unwrap());
    assert_eq!((sum.to_string().as_str(), sum.value()), ("1023500m", 1024));
    sum.neg();
    assert_eq!(sum.value(), -1024);
    assert_eq!(Quantity::parse("1Gi").unwrap(), Quantity::parse("1024Mi").unwrap());
    assert!(Quantity::parse("1e60").unwrap() > Quantity::parse("9E").unwrap());
    assert!(Quantity::parse("10000T").unwrap() > Quantity::parse("100Gi").unwrap());
    assert!(Quantity::parse("-1e60").unwrap() < Quantity::parse("1n").unwrap());
    assert_eq!(Quantity::parse("1e60").unwrap().value(), i64::MAX);
    assert_eq!(Quantity::from_milli(1500, Format::DecimalSi).to_string(), "1500m");
    assert_eq!(Quantity::new(1 << 31, Format::BinarySi).to_string(), "2Gi");
}

proptest! {
    #[test]
    fn canonical_form_is_stable_and_equal(
        whole in 0u64..10_000_000_000_000, fraction in "[0-9]{0,9}",
        suffix in prop::sample::select(vec!["", "n", "u", "m", "k", "M", "G", "T", "Ki", "Mi", "Gi", "e3", "E-3", "e7"]),
    ) {
        let dot = if fraction.is_empty() { "" } else { "." };
        let first = Quantity::parse(&format!("{whole}{dot}{fraction}{suffix}")).unwrap();
        let second = Quantity::parse(&first.to_string()).unwrap();
        prop_assert_eq!(&first, &second);
        prop_assert_eq!(first.with_format(second.format()).to_string(), second.clone().with_format(second.format()).to_string());
    }

    #[test]
    fn sums_come_apart_again(a in -1_000_000_000_000i64..1_000_000_000_000, b in -1_000_000_000_000i64..1_000_000_000_000) {
        let (a, b) = (Quantity::from_milli(a, Format::DecimalSi), Quantity::new(b, Format::DecimalSi));
        let mut sum = a.clone();
        sum.add(&b);
        sum.sub(&b);
        prop_assert_eq!(sum, a);
    }
}

#[test]
fn plain_texts_are_canonical_and_no_finer_than_thousandths() {
    for number in [1, 7, 8, 10, 64, 100, 128, 500, 512, 999] {
        for suffix in ["", "m", "k", "M", "G", "T", "Ki", "Mi", "Gi", "Ti"] {
            let text = format!("{number}{suffix}");
            assert!(Quantity::is_plain(&text), "{text}");
            let mut quantity = Quantity::parse(&text).unwrap();
            assert_eq!(quantity.to_string(), text);
            assert!(quantity.round_up(-3), "{text}");
            assert_eq!(quantity.to_string(), text);
        }
    }
    for text in
        ["", "m", "0", "01", "1000", "1.5", "-1", "+1", "1e3", "1n", "1u", "1P", "1Pi", " 1", "1 "]
    {
        assert!(!Quantity::is_plain(text), "{text}");
    }
}
