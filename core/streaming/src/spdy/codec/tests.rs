use super::*;
use proptest::prelude::*;

fn headers() -> impl Strategy<Value = Headers> {
    proptest::collection::vec(("[a-z][a-z0-9-]{0,12}", "[ -~]{0,40}"), 0..6).prop_map(|pairs| {
        let mut names = std::collections::HashSet::new();
        pairs
            .into_iter()
            .filter(|(name, _)| names.insert(name.clone()))
            .fold(Headers::new(), |headers, (name, value)| headers.with(&name, value))
    })
}

fn frames() -> impl Strategy<Value = Frame> {
    let id = 1..0x7fff_ffff_u32;
    prop_oneof![
        (id.clone(), 0..8_u8, headers(), any::<bool>(), any::<bool>()).prop_map(
            |(id, priority, headers, fin, unidirectional)| Frame::SynStream {
                id,
                associated: 0,
                priority,
                headers,
                fin,
                unidirectional
            }
        ),
        (id.clone(), headers(), any::<bool>()).prop_map(|(id, headers, fin)| Frame::SynReply {
            id,
            headers,
            fin
        }),
        (id.clone(), headers(), any::<bool>()).prop_map(|(id, headers, fin)| Frame::Headers {
            id,
            headers,
            fin
        }),
        (id.clone(), 1..12_u32)
            .prop_map(|(id, status)| Frame::Reset { id, status: ResetStatus(status) }),
        proptest::collection::vec((any::<u32>(), any::<u32>()), 0..4).prop_map(Frame::Settings),
        (1..u32::MAX).prop_map(Frame::Ping),
        (id.clone(), 0..12_u32).prop_map(|(last_good, status)| Frame::GoAway { last_good, status }),
        (id.clone(), id.clone()).prop_map(|(id, delta)| Frame::WindowUpdate { id, delta }),
        (id, proptest::collection::vec(any::<u8>(), 0..300), any::<bool>())
            .prop_map(|(id, bytes, fin)| Frame::Data { id, bytes: bytes.into(), fin }),
    ]
}

/// Data frames are handed on in parts; this puts the parts together again.
fn joined(frames: Vec<Frame>) -> Vec<Frame> {
    let mut whole: Vec<Frame> = Vec::new();
    let mut open = false;
    for frame in frames {
        match (whole.last_mut(), frame) {
            (Some(Frame::Data { bytes, fin, .. }), Frame::Data { bytes: more, fin: end, .. })
                if open =>
            {
                *bytes = [&bytes[..], &more[..]].concat().into();
                *fin = end;
            }
            (_, frame) => whole.push(frame),
        }
        open = matches!(whole.last(), Some(Frame::Data { .. }));
    }
    whole
}

proptest! {
    #[test]
    fn what_was_encoded_is_decoded_however_it_is_cut(
        frames in proptest::collection::vec(frames(), 1..12),
        cut in 1..64_usize,
    ) {
        let mut bytes = BytesMut::new();
        let mut encoder = Encoder::new();
        for frame in &frames {
            encoder.encode(frame, &mut bytes).unwrap();
        }
        let mut decoder = Decoder::new();
        let mut input = BytesMut::new();
        let mut decoded = Vec::new();
        for piece in bytes.chunks(cut) {
            input.extend_from_slice(piece);
            while let Some(frame) = decoder.decode(&mut input).unwrap() {
                decoded.push(frame);
            }
        }
        // Two data frames in a row are told apart only by their whole length.
        prop_assert_eq!(joined(decoded), joined(frames));
        prop_assert!(input.is_empty());
    }

    #[test]
    fn any_bytes_give_frames_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let mut input = BytesMut::from(&bytes[..]);
        let mut decoder = Decoder::new();
        while let Ok(Some(_)) = decoder.decode(&mut input) {}
    }
}

#[test]
fn a_control_frame_that_claims_too_much_is_refused() {
    let mut input = BytesMut::from(&[0x80, 3, 0, 1, 0, 0xff, 0xff, 0xff][..]);
    assert!(Decoder::new().decode(&mut input).is_err());
}

#[test]
fn header_names_are_found_in_any_case_and_values_repeat() {
    let headers = Headers::new().with("streamType", "error").with("port", "80").with("port", "81");
    let mut bytes = BytesMut::new();
    let frame = Frame::SynReply { id: 1, headers: headers.clone(), fin: false };
    Encoder::new().encode(&frame, &mut bytes).unwrap();
    let Some(Frame::SynReply { headers: read, .. }) = Decoder::new().decode(&mut bytes).unwrap()
    else {
        panic!("no reply")
    };
    assert_eq!(read, headers);
    assert_eq!(read.first("STREAMTYPE"), Some("error"));
}
