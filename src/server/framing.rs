//! Messages on a TCP connection: each with its length in two octets before it (RFC 1035 section 4.2.2). Octets alone,
//! apart from the connection they come by, so that any cut of any stream can be tried.

/// What a client's octets begin with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Frame<'a> {
    /// A message, and the octets behind it.
    Whole(&'a [u8], &'a [u8]),
    /// A message that is not all there yet.
    Part,
    /// A message of length 0: no program sends one, so where messages begin is no longer known.
    Nonsense,
}

/// Reads the first message of `octets`.
pub fn first(octets: &[u8]) -> Frame<'_> {
    let Some((length, rest)) = octets.split_first_chunk::<2>() else { return Frame::Part };
    match usize::from(u16::from_be_bytes(*length)) {
        0 => Frame::Nonsense,
        length => rest.split_at_checked(length).map_or(Frame::Part, |(message, rest)| Frame::Whole(message, rest)),
    }
}

/// Appends a message with its length before it. One of no octets, or of more than a length can say, is left out.
pub fn append(octets: &mut Vec<u8>, message: &[u8]) {
    if let (Ok(length), false) = (u16::try_from(message.len()), message.is_empty()) {
        octets.extend_from_slice(&length.to_be_bytes());
        octets.extend_from_slice(message);
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_framed_is_found_again_wherever_the_stream_is_cut(
            messages in vec(vec(any::<u8>(), 1..300), 0..8),
            cut in any::<prop::sample::Index>(),
        ) {
            let mut stream = Vec::new();
            messages.iter().for_each(|message| append(&mut stream, message));
            let come = &stream[..cut.index(stream.len() + 1)];
            let (mut rest, mut found) = (come, Vec::new());
            while let Frame::Whole(message, behind) = first(rest) {
                found.push(message);
                rest = behind;
            }
            prop_assert_eq!(first(rest), Frame::Part);
            prop_assert_eq!(&found, &messages[..found.len()]);
            // None is held back that is all there.
            let there: usize = found.iter().map(|message| 2 + message.len()).sum();
            let next = messages.get(found.len()).map_or(0, |message| 2 + message.len());
            prop_assert!(there + rest.len() == come.len() && (rest.len() < next || rest.is_empty()));
        }
    }

    #[test]
    fn a_length_of_zero_is_no_message() {
        assert_eq!(first(&[0, 0]), Frame::Nonsense);
        assert_eq!(first(&[0, 0, 1, 2]), Frame::Nonsense);
        assert_eq!((first(&[]), first(&[0]), first(&[0, 2, 7])), (Frame::Part, Frame::Part, Frame::Part));
    }

    #[test]
    fn what_has_no_length_is_not_sent() {
        let mut octets = Vec::new();
        append(&mut octets, &[]);
        append(&mut octets, &[0; 65_536]);
        assert!(octets.is_empty());
        append(&mut octets, &[7; 65_535]);
        assert_eq!(first(&octets), Frame::Whole(&[7; 65_535], &[]));
    }
}
