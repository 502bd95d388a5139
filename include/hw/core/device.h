/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Devices: a const DeviceClass record each, and one explicit table of them all (hw/registry.c).
 *
 * Life: device_new() allocates and sets defaults; the board or `-device` sets properties and
 * connects IrqLines; device_realize() checks them, maps regions, opens back ends; reset follows;
 * the guest runs; device_free() unrealizes.  Everything happens under the main lock.
 */
#ifndef VMRUN_HW_CORE_DEVICE_H
#define VMRUN_HW_CORE_DEVICE_H

#include "hw/core/irq.h"
#include "hw/core/state.h"

typedef struct Machine Machine;
typedef struct Device Device;

typedef enum {
    PROP_BOOL,   /* bool */
    PROP_UINT,   /* uint8_t to uint64_t by size */
    PROP_SIZE,   /* uint64_t, takes k/M/G */
    PROP_STRING, /* char *, owned by the device */
    PROP_ENUM,   /* int, index into words */
    PROP_LINK,   /* void *: resolve() turns the text into an object (a drive, chardev, netdev) */
    PROP_MAC,    /* uint8_t[6] */
} PropKind;

/* Returns the object called text, or NULL with an error that names it. */
typedef void *PropResolve(const char *text, GError **error);

typedef struct Prop {
    const char *name;
    const char *help; /* for `-device NAME,help` */
    PropKind kind;
    uint32_t offset;
    uint32_t size;
    uint64_t value;           /* default of BOOL, UINT, SIZE, ENUM */
    const char *text;         /* default of STRING, or NULL */
    uint64_t min, max;        /* of UINT, SIZE; max 0: what the field holds */
    const char *const *words; /* of ENUM, NULL-terminated */
    PropResolve *resolve;     /* of LINK */
} Prop;

#define PROP_FIELD(S, f, prop_name, prop_kind, ...)                                                \
    {                                                                                              \
        .name = prop_name, .kind = prop_kind, .offset = offsetof(S, f),                            \
        .size = sizeof(((S *)0)->f), __VA_ARGS__                                                   \
    }
#define PROP_END                                                                                   \
    {                                                                                              \
        .name = NULL                                                                               \
    }

/* What a device plugs into; decides which struct embeds Device (PciDevice, IsaDevice ...). */
typedef enum { BUS_NONE, BUS_ISA, BUS_PCI, BUS_IDE, BUS_COUNT } BusKind;

typedef struct DeviceClass {
    const char *name; /* QEMU's name where there is one: "isa-serial" */
    const char *desc; /* one line for `-device help` */
    BusKind bus;
    bool user;         /* may be created by -device */
    size_t size;       /* of the concrete struct, whose first member is a Device */
    const Prop *props; /* ends with PROP_END; NULL: none */
    const StateDesc *state;
    bool (*realize)(Device *dev, GError **error);
    /* After state_reset() of the state: sets what a table cannot, lowers lines. May be NULL. */
    void (*reset)(Device *dev);
    void (*unrealize)(Device *dev);
    /* Extra lines for `info qtree`; may be NULL. */
    void (*describe)(Device *dev, GString *out);
    /* Bus-specific constants (a PciInfo for BUS_PCI), or NULL. */
    const void *bus_info;
} DeviceClass;

struct Device {
    const DeviceClass *cls;
    char *id; /* unique; made from the class name where none was given */
    Machine *machine;
    Device *parent;      /* owns it; NULL: the machine */
    GPtrArray *children; /* of Device */
    bool realized;
    /* Input pins, set by device_init_inputs(). */
    IrqFn *in_fn;
    unsigned in_count;
    IrqFn *in_intercept; /* qtest's irq_intercept_in: called instead of in_fn */
    void *in_intercept_opaque;
};

/* The class of that name in the registry, or NULL. */
const DeviceClass *device_class_find(const char *name);
/* The registry: ends with NULL. */
extern const DeviceClass *const device_classes[];

/* Allocates a device with default properties, owned by parent (NULL: machine). id may be NULL. */
Device *device_new(Machine *machine, Device *parent, const DeviceClass *cls, const char *id);
/* Sets a property from its text; an unknown name or a bad value is an error that names both. */
bool device_set_prop(Device *dev, const char *name, const char *text, GError **error);
/* Sets a LINK property to an object directly. */
void device_set_link(Device *dev, const char *name, void *object);
const Prop *device_find_prop(const DeviceClass *cls, const char *name);
/* Realizes and resets it.  On failure the device is still to be freed. */
bool device_realize(Device *dev, GError **error);
/* device_new + realize; NULL on error, with the device gone. */
Device *device_create(Machine *machine, Device *parent, const DeviceClass *cls, GError **error);
/* Unrealizes and frees it with its children. */
void device_free(Device *dev);
/* State table, then reset(), then children in order. */
void device_reset(Device *dev);
/* The device with that id, or NULL. */
Device *device_find(Machine *machine, const char *id);
/* The first device of that class, or NULL. */
Device *device_find_class(Machine *machine, const char *class_name);
/* Calls fn on each device, parents first. */
void device_foreach(Machine *machine, void (*fn)(Device *dev, void *opaque), void *opaque);

/* Declares count input pins served by fn(dev, n, level). */
void device_init_inputs(Device *dev, IrqFn *fn, unsigned count);
/* The line that drives input n. */
IrqLine device_input(Device *dev, unsigned n);

/* `info qtree` and `-device NAME,help`. */
void device_describe_tree(Machine *machine, GString *out);
void device_class_describe(const DeviceClass *cls, GString *out);

#endif
