/*
 * What libgcc_eh expects from glibc and musl does not have. Only linked into binaries whose standard library was built
 * by targets/toolchain.
 *
 * gcc 12 and newer look up unwind tables with _dl_find_object(); here it gives the same answer from
 * dl_iterate_phdr(). The struct is that of the glibc headers which the target's gcc uses, as its libgcc_eh did.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <link.h>
#include <pthread.h>

struct search {
	ElfW(Addr) pc;
	struct dl_find_object *result;
	int found;
};

static int visit(struct dl_phdr_info *object, size_t size, void *argument)
{
	struct search *search = argument;
	const ElfW(Phdr) *eh_frame = 0;
	const ElfW(Phdr) *holds_pc = 0;

	(void)size;
	for (int i = 0; i < object->dlpi_phnum; i++) {
		const ElfW(Phdr) *header = &object->dlpi_phdr[i];

		if (header->p_type == PT_GNU_EH_FRAME)
			eh_frame = header;
		else if (header->p_type == PT_LOAD &&
			 search->pc - (object->dlpi_addr + header->p_vaddr) < header->p_memsz)
			holds_pc = header;
	}
	if (!eh_frame || !holds_pc)
		return 0;
	search->result->dlfo_flags = 0;
	search->result->dlfo_map_start = (void *)(object->dlpi_addr + holds_pc->p_vaddr);
	search->result->dlfo_map_end = (char *)search->result->dlfo_map_start + holds_pc->p_memsz;
	search->result->dlfo_link_map = 0;
	search->result->dlfo_eh_frame = (void *)(object->dlpi_addr + eh_frame->p_vaddr);
	search->found = 1;
	return 1;
}

int _dl_find_object(void *pc, struct dl_find_object *result)
{
	struct search search = { (ElfW(Addr))pc, result, 0 };

	dl_iterate_phdr(visit, &search);
	return search.found ? 0 : -1;
}

/*
 * libgcc_eh refers to these weakly, and a weak reference pulls nothing out of libc.a: the first backtrace would jump
 * to address 0.
 */
void *const isulabox_unwind_needs[] = {
	(void *)pthread_once,	      (void *)pthread_mutex_lock,  (void *)pthread_mutex_unlock,
	(void *)pthread_key_create,   (void *)pthread_getspecific, (void *)pthread_setspecific,
};
