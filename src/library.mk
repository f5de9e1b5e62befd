# What the Makefiles of the libraries that are made for themselves have in common.  They
# set MODULE_big, OBJS and LIBRARY, and are called by the Makefile above.

PG_CONFIG ?= pg_config
PG_CPPFLAGS = -isystem $(shell $(PG_CONFIG) --includedir-server) -I$(srcdir)/.. -DJWT_VERSION='"$(EXTVERSION)"'
PG_CFLAGS = -Wall -Wextra -fvisibility=hidden -fno-plt -fstack-protector-strong $(if $(WERROR),-Werror)
ifneq ($(findstring clang,$(CC)),)
PG_CFLAGS += -Wno-ignored-optimization-argument -Wno-unknown-warning-option
endif
SHLIB_LINK = $(LIBRARY) -Wl,-z,relro,-z,now
override with_llvm = no

PGXS := $(shell $(PG_CONFIG) --pgxs)
include $(PGXS)
# the files of these folders that it links are built for it
vpath %.c $(srcdir)/../token $(srcdir)/../extension
$(OBJS): $(wildcard $(srcdir)/*.h $(srcdir)/../*.h $(srcdir)/../*/*.h)
