/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The packet commands that tell about drive and disc (atapi-info.c), for the table in atapi-mmc.c.
 */
#ifndef VMRUN_HW_IDE_ATAPI_MMC_H
#define VMRUN_HW_IDE_ATAPI_MMC_H

#include "atapi.h"

/* kB/s: DVD 8x. */
#define CD_MAX_SPEED 10800

void atapi_mode_sense_6(AtapiCd *cd, const uint8_t *packet);
void atapi_mode_sense_10(AtapiCd *cd, const uint8_t *packet);
void atapi_mode_select_6(AtapiCd *cd, const uint8_t *packet);
void atapi_mode_select_10(AtapiCd *cd, const uint8_t *packet);
void atapi_read_capacity(AtapiCd *cd, const uint8_t *packet);
void atapi_read_sub_channel(AtapiCd *cd, const uint8_t *packet);
void atapi_read_toc(AtapiCd *cd, const uint8_t *packet);
void atapi_get_configuration(AtapiCd *cd, const uint8_t *packet);
void atapi_read_disc_information(AtapiCd *cd, const uint8_t *packet);
void atapi_read_track_information(AtapiCd *cd, const uint8_t *packet);
void atapi_read_dvd_structure(AtapiCd *cd, const uint8_t *packet);

#endif
