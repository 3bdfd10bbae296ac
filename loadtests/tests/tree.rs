//! The trees of the project's own and of the Broadband Forum's model files, and the methods that
//! work on them.

use std::path::PathBuf;

use hearth_cwmp::{ParameterValue, SetParameterAttributesStruct, XsdType};
use hearth_sim::{Kind, Tree};

fn router() -> Tree {
    let serial = ("Device.DeviceInfo.SerialNumber".into(), "S1".into());
    Tree::new(Kind::Router.load().unwrap(), vec![serial])
}

fn set(path: &str, value: &str, xsd_type: XsdType) -> ParameterValue {
    ParameterValue::new(path, value, xsd_type)
}

#[test]
fn every_own_tree_is_whole() {
    for kind in Kind::OWN {
        let base = kind.load().unwrap_or_else(|e| panic!("{kind}: {e}"));
        let tree = Tree::new(base.clone(), Vec::new());
        assert!((60..=300).contains(&base.len()), "{kind}: {}", base.len());
        for path in [
            "DeviceInfo.SoftwareVersion",
            "ManagementServer.ConnectionRequestURL",
        ] {
            assert!(tree.leaf(&tree.path(path)).is_some(), "{kind}: {path}");
        }
        assert!(base.forced_inform().len() >= 5, "{kind}");
        for (path, leaf, value) in base.parameters() {
            let mut open = leaf.clone();
            open.writable = true;
            // An empty word is what a parameter without a value holds.
            let good = open.check(value, leaf.xsd_type).is_ok() || value.is_empty();
            assert!(
                good,
                "{kind}: {path} = `{value}` is not allowed by its own rule"
            );
            if let Some(table) = path.strip_suffix("NumberOfEntries") {
                let instances = tree.instances(&format!("{table}.")).len();
                let known = tree.has_object(&format!("{table}."));
                assert!(!known || value == instances.to_string(), "{kind}: {path}");
            }
        }
    }
}

#[test]
fn a_set_is_atomic_and_names_every_bad_parameter() {
    let mut tree = router();
    let ssid = "Device.WiFi.SSID.1.SSID";
    let list = [
        set(ssid, "New", XsdType::String),
        set("Device.WiFi.SSID.9.SSID", "x", XsdType::String),
        set("Device.WiFi.Radio.1.Channel", "x", XsdType::UnsignedInt),
        set("Device.WiFi.Radio.1.Enable", "true", XsdType::String),
        set("Device.DeviceInfo.UpTime", "1", XsdType::UnsignedInt),
        set("Device.WiFi.", "1", XsdType::String),
    ];
    let fault = tree.set_values(&list).unwrap_err();
    assert_eq!(fault.code.0, 9003);
    let codes: Vec<_> = fault.parameters.iter().map(|p| p.fault_code.0).collect();
    assert_eq!(codes, [9005, 9007, 9006, 9008, 9005]);
    assert_eq!(tree.value(ssid), Some("Hearth"));

    let twice = [
        set(ssid, "A", XsdType::String),
        set(ssid, "B", XsdType::String),
    ];
    let fault = tree.set_values(&twice).unwrap_err();
    assert_eq!((fault.code.0, fault.parameters.len()), (9003, 0));
    let aliased = "Device.WiFi.SSID.[cpe-1].SSID";
    let twice = [
        set(ssid, "A", XsdType::String),
        set(aliased, "B", XsdType::String),
    ];
    assert_eq!(tree.set_values(&twice).unwrap_err().code.0, 9003);

    assert_eq!(
        tree.set_values(&[set(aliased, "New", XsdType::String)])
            .unwrap(),
        [ssid]
    );
    assert_eq!(tree.value(ssid), Some("New"));
}

#[test]
fn secrets_read_back_empty() {
    let mut tree = router();
    let path = "Device.WiFi.AccessPoint.1.Security.KeyPassphrase";
    tree.set_values(&[set(path, "swordfish", XsdType::String)])
        .unwrap();
    assert_eq!(tree.value(path), Some("swordfish"));
    assert_eq!(tree.get_values(&[path.to_owned()]).unwrap()[0].value, "");
}

#[test]
fn reading_by_full_and_partial_path() {
    let tree = router();
    let read = |name: &str| tree.get_values(&[name.to_owned()]).map_err(|f| f.code.0);
    assert_eq!(
        read("Device.DeviceInfo.SerialNumber").unwrap()[0].value,
        "S1"
    );
    assert_eq!(read("").unwrap().len(), tree.len());
    assert_eq!(read("Device.").unwrap().len(), tree.len());
    assert_eq!(read("Device.WiFi.Radio.1.Stats.").unwrap().len(), 2);
    assert_eq!(read("Device.NAT.PortMapping.").unwrap().len(), 0);
    assert_eq!(read("Device.Nope."), Err(9005));
    assert_eq!(read("Device.WiFi"), Err(9005));
    assert_eq!(tree.get_values(&[]).unwrap_err().code.0, 9003);
}

#[test]
fn names_at_one_level_and_below() {
    let tree = router();
    let names = |path: &str, next| {
        let names = tree.get_names(path, next).map_err(|f| f.code.0);
        names.map(|list| {
            list.into_iter()
                .map(|i| (i.name, i.writable))
                .collect::<Vec<_>>()
        })
    };
    assert_eq!(names("", true).unwrap(), [("Device.".to_owned(), false)]);
    let below = names("Device.NAT.", true).unwrap();
    assert!(below.contains(&("Device.NAT.PortMapping.".to_owned(), true)));
    assert!(below.contains(&("Device.NAT.PortMappingNumberOfEntries".to_owned(), false)));
    assert!(!below.iter().any(|(name, _)| name == "Device.NAT."));
    let all = names("Device.NAT.", false).unwrap();
    assert!(all.iter().any(|(name, _)| name == "Device.NAT."));
    assert!(
        all.iter()
            .any(|(name, _)| name == "Device.NAT.InterfaceSetting.1.Alias")
    );
    assert_eq!(
        names("Device.RootDataModelVersion", false).unwrap().len(),
        1
    );
    assert_eq!(names("Device.RootDataModelVersion", true), Err(9003));
    assert_eq!(names("Device.X.", false), Err(9005));
    let whole = names("", false).unwrap();
    assert_eq!(whole, names("Device.", false).unwrap());
}

#[test]
fn instance_numbers_grow_and_counts_stay_true() {
    let mut tree = router();
    let table = "Device.NAT.PortMapping.";
    assert_eq!(tree.add_object(table).unwrap(), 1);
    assert_eq!(tree.add_object("Device.NAT.PortMapping.[web].").unwrap(), 2);
    assert_eq!(tree.root_value("NAT.PortMapping.1.Alias"), "cpe-1");
    assert_eq!(tree.root_value("NAT.PortMapping.2.Alias"), "web");
    assert_eq!(
        tree.add_object("Device.NAT.PortMapping.[web].")
            .unwrap_err()
            .code
            .0,
        9005
    );
    assert_eq!(tree.root_value("NAT.PortMappingNumberOfEntries"), "2");
    tree.delete_object("Device.NAT.PortMapping.[web].").unwrap();
    assert_eq!(
        tree.delete_object("Device.NAT.PortMapping.2.")
            .unwrap_err()
            .code
            .0,
        9005
    );
    assert_eq!(tree.root_value("NAT.PortMappingNumberOfEntries"), "1");
    assert_eq!(tree.add_object(table).unwrap(), 3);
    assert_eq!(tree.instances(table), [1, 3]);

    // An instance that a new device has can go too, with everything in it.
    tree.delete_object("Device.WiFi.SSID.2.").unwrap();
    assert_eq!(tree.instances("Device.WiFi.SSID."), [1]);
    assert!(tree.value("Device.WiFi.SSID.2.SSID").is_none());
    assert_eq!(tree.add_object("Device.WiFi.SSID.").unwrap(), 3);

    for (name, code) in [
        ("Device.WiFi.Radio.", 9001),
        ("Device.NAT.", 9005),
        ("Device.NAT.PortMapping", 9003),
        ("Device.NAT.PortMapping.3.", 9005),
    ] {
        assert_eq!(tree.add_object(name).unwrap_err().code.0, code, "{name}");
    }
    for (name, code) in [
        ("Device.WiFi.Radio.1.", 9001),
        (table, 9005),
        ("Device.NAT", 9003),
    ] {
        assert_eq!(tree.delete_object(name).unwrap_err().code.0, code, "{name}");
    }

    tree.factory_reset();
    assert_eq!(tree.instances(table), [] as [u32; 0]);
    assert_eq!(tree.instances("Device.WiFi.SSID."), [1, 2]);
    assert_eq!(tree.root_value("DeviceInfo.SerialNumber"), "S1");
}

#[test]
fn attributes() {
    let mut tree = router();
    let change = |name: &str, notification| SetParameterAttributesStruct {
        name: name.to_owned(),
        notification_change: true,
        notification,
        access_list_change: true,
        access_list: Vec::new(),
    };
    tree.set_attributes(&[change("Device.WiFi.SSID.", 2)])
        .unwrap();
    let read = tree
        .get_attributes(&["Device.WiFi.SSID.1.SSID".to_owned()])
        .unwrap();
    assert_eq!((read[0].notification, read[0].access_list.len()), (2, 0));
    let fault = |tree: &mut Tree, item| tree.set_attributes(&[item]).unwrap_err().code.0;
    assert_eq!(fault(&mut tree, change("Device.Nope", 1)), 9005);
    assert_eq!(fault(&mut tree, change("Device.WiFi.", 7)), 9003);
    assert_eq!(
        tree.get_attributes(&["Device.Nope".to_owned()])
            .unwrap_err()
            .code
            .0,
        9005
    );
}

/// Where the model files are, or `None` with a word on stderr.
fn models() -> Option<PathBuf> {
    let found = std::env::var_os("HEARTH_BBF_DIR").map(PathBuf::from);
    if found.is_none() {
        eprintln!("skipped: HEARTH_BBF_DIR doesn't say where the Broadband Forum's models are");
    }
    found
}

#[test]
fn trees_of_the_broadband_forums_models() {
    let Some(dir) = models() else { return };
    for (root, service, least, present) in [
        (
            "tr-181-2-17-0-cwmp-full.xml",
            None,
            5000,
            "Device.WiFi.SSID.1.SSID",
        ),
        (
            "tr-181-2-11-0-full.xml",
            None,
            3000,
            "Device.WiFi.SSID.1.SSID",
        ),
        ("tr-181-1-7-0-full.xml", None, 500, "Device.DeviceSummary"),
        (
            "tr-098-1-8-0-full.xml",
            None,
            1500,
            "InternetGatewayDevice.WANDevice.1.WANConnectionDevice.1.WANPPPConnection.1.ExternalIPAddress",
        ),
        (
            "tr-181-2-17-0-cwmp-full.xml",
            Some("tr-135-1-4-1-cwmp-full.xml"),
            5500,
            "Device.Services.STBService.1.Components.FrontEnd.1.Enable",
        ),
        (
            "tr-098-1-8-0-full.xml",
            Some("tr-104-1-1-0-full.xml"),
            1700,
            "InternetGatewayDevice.Services.VoiceService.1.VoiceProfile.1.Line.1.SIP.AuthPassword",
        ),
        (
            "tr-181-2-17-0-cwmp-full.xml",
            Some("tr-104-2-0-2-cwmp-full.xml"),
            5500,
            "Device.Services.VoiceServiceNumberOfEntries",
        ),
        (
            "tr-181-1-7-0-full.xml",
            Some("tr-140-1-3-1-cwmp-full.xml"),
            600,
            "Device.Services.StorageService.1.NetInfo.HostName",
        ),
    ] {
        let files = std::iter::once(root)
            .chain(service)
            .map(|name| dir.join(name));
        let kind = Kind::Model(files.collect());
        let base = kind
            .load()
            .unwrap_or_else(|e| panic!("{root} {service:?}: {e}"));
        let mut tree = Tree::new(base.clone(), Vec::new());
        eprintln!(
            "{root} {service:?}: {} parameters, {} objects",
            base.len(),
            base.object_count()
        );
        assert!(base.len() >= least, "{root} {service:?}: {}", base.len());
        assert!(
            tree.leaf(present).is_some(),
            "{root} {service:?}: {present}"
        );
        assert!(!base.parameters().any(|(path, ..)| path.contains("{i}")));
        // What is read may be set again where it is writable, secrets apart.
        let writable: Vec<_> = base
            .parameters()
            .filter(|(_, leaf, value)| leaf.writable && !value.is_empty())
            .map(|(path, leaf, value)| set(path, value, leaf.xsd_type))
            .collect();
        tree.set_values(&writable)
            .unwrap_or_else(|f| panic!("{root} {service:?}: {:?}", &f.parameters[..3]));
        let addable: Vec<String> = tree
            .get_names("", false)
            .unwrap()
            .into_iter()
            .filter(|info| info.writable && info.name.ends_with('.'))
            .map(|info| info.name)
            .collect();
        let tables = addable
            .iter()
            .filter(|name| !name.trim_end_matches('.').ends_with(char::is_numeric));
        let mut added = 0;
        for table in tables.take(50) {
            let number = tree
                .add_object(table)
                .unwrap_or_else(|f| panic!("{table}: {f:?}"));
            tree.delete_object(&format!("{table}{number}.")).unwrap();
            added += 1;
        }
        assert!(added > 3, "{root} {service:?}");
    }
}
