/* SPDX-License-Identifier: Apache-2.0
 *
 * Kernel interfaces newer than the headers of Debian 12. Values are those of the stable user ABI.
 */
#ifndef SKEIN_KERNEL_ABI_H
#define SKEIN_KERNEL_ABI_H

#include <linux/ioctl.h>
#include <linux/types.h>
#include <linux/userfaultfd.h>

#ifndef UFFD_USER_MODE_ONLY
#define UFFD_USER_MODE_ONLY 1
#endif
#define SKEIN_UFFD_FEATURE_WP_UNPOPULATED (1ull << 13)
#define SKEIN_UFFD_FEATURE_WP_ASYNC (1ull << 15)
#define SKEIN_UFFD_FEATURE_WP_HUGETLBFS_SHMEM (1ull << 12)

#define SKEIN_PAGE_IS_WPALLOWED (1ull << 0)
#define SKEIN_PAGE_IS_WRITTEN (1ull << 1)
#define SKEIN_PAGE_IS_FILE (1ull << 2)
#define SKEIN_PAGE_IS_PRESENT (1ull << 3)
#define SKEIN_PAGE_IS_SWAPPED (1ull << 4)
#define SKEIN_PAGE_IS_PFNZERO (1ull << 5)
#define SKEIN_PAGE_IS_HUGE (1ull << 6)

struct skein_page_region {
    __u64 start, end, categories;
};

#define SKEIN_PM_SCAN_WP_MATCHING (1ull << 0)
#define SKEIN_PM_SCAN_CHECK_WPASYNC (1ull << 1)

struct skein_pm_scan_arg {
    __u64 size, flags, start, end, walk_end, vec, vec_len, max_pages;
    __u64 category_inverted, category_mask, category_anyof_mask, return_mask;
};
#define SKEIN_PAGEMAP_SCAN _IOWR('f', 16, struct skein_pm_scan_arg)

#endif
