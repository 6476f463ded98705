use super::super::usage::Archive;
use super::*;
use crate::model::TaskId;
use proptest::prelude::*;

fn origin() -> impl Strategy<Value = Origin> {
    prop_oneof![
        Just(Origin::Task),
        Just(Origin::Hand),
        any::<bool>()
            .prop_map(|exists| Origin::Directory(Archive { path: "a.tar".into(), exists })),
    ]
}

fn image() -> impl Strategy<Value = KeptImage> {
    let flags = (0..10_u8, any::<bool>(), 0..8_u8, 0..8_u8);
    (0..64_u8, flags, 0..200_u64, origin()).prop_map(
        |(n, (used, tagged, built_in, held), minutes, origin)| {
            let digest =
                ImageDigest::new(format!("sha256:{}", format!("{n:02x}").repeat(32))).unwrap();
            let name = if tagged { format!("app:{n}") } else { format!("app@{digest}") };
            let user = ImageUser::Task(TaskId::new("0123456789").unwrap());
            KeptImage {
                names: vec![name],
                users: (used < 3).then_some(user).into_iter().collect(),
                unused: Duration::from_mins(minutes),
                origin,
                built_in: built_in == 0,
                held: held == 0,
                digest,
            }
        },
    )
}

proptest! {
    #[test]
    fn nothing_goes_that_anything_speaks_for(
        images in prop::collection::vec(image(), 0..30),
        untracked: bool,
        per_cycle in 0..10_usize,
        all: bool,
        minutes in 0..200_u64,
    ) {
        let rules = Rules { per_cycle, untracked, ..Rules::default() };
        let unused_for = Duration::from_mins(minutes);
        let asked = Occasion::Asked { all, unused_for };
        for occasion in [Occasion::Cycle, Occasion::Pressure, asked] {
            let chosen = choose(&images, &rules, occasion);
            for image in &chosen {
                prop_assert!(image.users.is_empty() && !image.built_in && !image.held);
                match occasion {
                    Occasion::Cycle => {
                        prop_assert!(image.unused >= rules.minimum_age);
                        prop_assert!(image.origin == Origin::Task || untracked && image.origin == Origin::Hand);
                    }
                    Occasion::Pressure => match &image.origin {
                        Origin::Task => {}
                        Origin::Hand => prop_assert!(untracked),
                        Origin::Directory(archive) => prop_assert!(archive.exists),
                    },
                    Occasion::Asked { .. } => {
                        prop_assert!(all || !image.is_tagged());
                        prop_assert!(image.unused >= unused_for);
                    }
                }
            }
            let of_tasks = chosen.iter().filter(|i| !matches!(i.origin, Origin::Directory(_)));
            prop_assert!(of_tasks.map(|i| Reverse(i.unused)).is_sorted(), "the longest unused first");
            if occasion == Occasion::Cycle {
                prop_assert!(chosen.len() <= per_cycle);
                continue;
            }
            // And all goes that may.
            let left = images.iter().filter(|i| !chosen.iter().any(|c| c == i));
            for image in left {
                let may = image.may_go() && match occasion {
                    Occasion::Pressure => match &image.origin {
                        Origin::Task => true,
                        Origin::Hand => untracked,
                        Origin::Directory(archive) => archive.exists,
                    },
                    _ => (all || !image.is_tagged()) && image.unused >= unused_for,
                };
                prop_assert!(!may, "{image:?} stays");
            }
        }
    }
}
